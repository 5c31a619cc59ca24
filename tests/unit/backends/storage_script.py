"""A storage node as a script of tests.unit.spdk.scripted_spdk: enough state for spdk-lvol, and trouble on demand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.unit.spdk.scripted_spdk import Request, Session

MIB = 1024 * 1024


@dataclass
class StorageScript:
    """`refuse`: methods that are refused, whatever they ask for; `meanwhile`: what happens just before one is."""

    free_clusters: int = 8192
    lvols: dict[str, dict[str, Any]] = field(default_factory=dict)
    subsystems: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, list[str]] = field(default_factory=dict)  # host NQNs by subsystem
    refuse: set[str] = field(default_factory=set)
    meanwhile: Callable[[str, dict[str, Any]], None] = lambda method, params: None
    loyal: bool = False  # sessions survive the end of their permission
    asked: list[str] = field(default_factory=list)

    def __call__(self, session: Session, request: Request) -> None:
        method, params = request["method"], request.get("params", {})
        self.asked.append(method)
        self.meanwhile(method, params)
        answer = None if method in self.refuse else getattr(self, method)(**params)
        if answer is None:
            session.refuse(request, -32602, "Invalid parameters")
        else:
            session.answer(request, answer)

    def bdev_lvol_get_lvstores(self, lvs_name: str) -> Any:
        store = {"uuid": str(uuid4()), "name": lvs_name, "base_bdev": "disk0", "total_data_clusters": 8192}
        return [store | {"free_clusters": self.free_clusters, "cluster_size": MIB}]

    def bdev_get_bdevs(self, name: str) -> Any:
        return [self.lvols[name]] if name in self.lvols else None

    def bdev_lvol_create(self, lvs_name: str, lvol_name: str, size_in_mib: int, thin_provision: bool, **_: Any) -> Any:
        uuid, alias = str(uuid4()), f"{lvs_name}/{lvol_name}"
        part = {"lvol_store_uuid": "x", "thin_provision": thin_provision, "num_allocated_clusters": 0}
        self.lvols[alias] = {
            "name": uuid,
            "aliases": [alias],
            "uuid": uuid,
            "product_name": "Logical Volume",
            "block_size": 4096,
            "num_blocks": size_in_mib * 256,
            "claimed": False,
            "driver_specific": {"lvol": part | {"snapshot": False, "clone": False}},
        }
        return uuid

    def bdev_lvol_delete(self, name: str) -> Any:
        self.lvols = {alias: one for alias, one in self.lvols.items() if one["name"] != name}
        return True

    def nvmf_get_transports(self) -> Any:
        return [{"trtype": "TCP"}]

    def nvmf_get_subsystems(self, nqn: str) -> Any:
        return [self.subsystems[nqn]] if nqn in self.subsystems else None

    def nvmf_subsystem_get_controllers(self, nqn: str) -> Any:
        if nqn not in self.subsystems:
            return None
        hosts = enumerate(self.sessions.get(nqn, []))
        return [{"cntlid": i, "hostnqn": host, "hostid": "x", "num_io_qpairs": 1} for i, host in hosts]

    def nvmf_create_subsystem(self, nqn: str, serial_number: str, **_: Any) -> Any:
        if nqn in self.subsystems:
            return None
        self.subsystems[nqn] = {
            "nqn": nqn,
            "subtype": "NVMe",
            "serial_number": serial_number,
            "model_number": "",
            "allow_any_host": False,
            "max_namespaces": 1,
            "min_cntlid": 1,
            "max_cntlid": 65519,
            "hosts": [],
            "namespaces": [],
            "listen_addresses": [],
        }
        return True

    def nvmf_subsystem_add_ns(self, nqn: str, namespace: dict[str, Any]) -> Any:
        if nqn not in self.subsystems or self.subsystems[nqn]["namespaces"]:
            return None
        self.subsystems[nqn]["namespaces"].append(namespace)
        return 1

    def nvmf_subsystem_add_host(self, nqn: str, host: str) -> Any:
        if nqn not in self.subsystems or {"nqn": host} in self.subsystems[nqn]["hosts"]:
            return None
        self.subsystems[nqn]["hosts"].append({"nqn": host})
        return True

    def nvmf_subsystem_add_listener(self, nqn: str, listen_address: dict[str, Any]) -> Any:
        if nqn not in self.subsystems or listen_address in self.subsystems[nqn]["listen_addresses"]:
            return None
        self.subsystems[nqn]["listen_addresses"].append(listen_address)
        return True

    def nvmf_subsystem_remove_host(self, nqn: str, host: str) -> Any:
        if {"nqn": host} not in self.subsystems[nqn]["hosts"]:
            return None
        self.subsystems[nqn]["hosts"].remove({"nqn": host})
        if not self.loyal and host in self.sessions.get(nqn, []):
            self.sessions[nqn].remove(host)
        return True

    def nvmf_delete_subsystem(self, nqn: str) -> Any:
        return True if self.subsystems.pop(nqn, None) else None
