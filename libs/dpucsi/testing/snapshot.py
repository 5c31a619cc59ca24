"""Everything that a volume may leave behind, as one comparable value: `before == after` proves that nothing leaked."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from dpucsi.aio import wait_until
from dpucsi.api.attacher.v1 import attacher_pb2, attacher_pb2_grpc
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2, backend_nvme_pb2_grpc, frontend_nvme_pb2, frontend_nvme_pb2_grpc
from dpucsi.errors import TimedOutError
from dpucsi.rpc import call
from dpucsi.testing.lab import SPDKS, Lab
from dpucsi.testing.leftovers import loop_devices, mounts

State: TypeAlias = dict[str, Any]

# What SPDK counts or times, which differs from one look to the next without anything being left behind.
_VOLATILE = frozenset({"cntlid", "hostid", "num_allocated_clusters", "free_clusters"})


async def snapshot(lab: Lab) -> State:
    """The state of both SPDKs, the OPI objects, the attachments, and of this machine below the lab's folder."""
    return {
        "storage": await _spdk(lab, "storage"),
        "dpu": await _spdk(lab, "dpu"),
        "opi": await _opi(lab),
        "attachments": await _attachments(lab),
        "loop devices": loop_devices(lab.root),
        "mounts": mounts(lab.root),
        "host namespaces": sorted(path.name for path in (lab.sysfs / "block").glob("nvme*")),
    }


async def comes_to(lab: Lab, wanted: State, timeout_s: float = 15.0) -> None:
    """Returns when the state is `wanted`; the card takes a disk away a moment behind the call that detached it.

    Raises AssertionError with what differs.
    """

    async def same() -> bool | None:
        return await snapshot(lab) == wanted or None

    try:
        await wait_until(same, "the state as before", timeout_s=timeout_s)
    except TimedOutError as late:
        found = await snapshot(lab)
        differing = {key: (found[key], wanted[key]) for key in wanted if found[key] != wanted[key]}
        raise AssertionError(f"found, wanted: {differing}") from late


async def _spdk(lab: Lab, name: str) -> dict[str, Any]:
    if name not in SPDKS:
        raise ValueError(name)
    methods = ["bdev_get_bdevs", "nvmf_get_subsystems", "bdev_nvme_get_controllers", "bdev_lvol_get_lvols"]
    async with lab.spdk(name) as spdk:
        return {method: _stable(await spdk.call(method)) for method in methods}


async def _opi(lab: Lab) -> list[str]:
    async with lab.channel("opi-bridge") as channel:
        backend = backend_nvme_pb2_grpc.NvmeRemoteControllerServiceStub(channel)
        frontend = frontend_nvme_pb2_grpc.FrontendNvmeServiceStub(channel)
        remotes = await call(
            "opi-bridge", backend.ListNvmeRemoteControllers, backend_nvme_pb2.ListNvmeRemoteControllersRequest()
        )
        subsystems = await call(
            "opi-bridge", frontend.ListNvmeSubsystems, frontend_nvme_pb2.ListNvmeSubsystemsRequest()
        )
        names = [entry.name for entry in remotes.nvme_remote_controllers]
        for subsystem in subsystems.nvme_subsystems:
            namespaces = await call(
                "opi-bridge",
                frontend.ListNvmeNamespaces,
                frontend_nvme_pb2.ListNvmeNamespacesRequest(parent=subsystem.name),
            )
            names += [subsystem.name, *(entry.name for entry in namespaces.nvme_namespaces)]
        return sorted(names)


async def _attachments(lab: Lab) -> list[str]:
    async with lab.channel("volume-attacher") as channel:
        stub = attacher_pb2_grpc.AttacherServiceStub(channel)
        answer = await call("volume-attacher", stub.ListAttachments, attacher_pb2.ListAttachmentsRequest())
        return [f"{entry.spec.uuid} {entry.state}" for entry in answer.attachments]


def _stable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _stable(inner) for key, inner in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return sorted((_stable(inner) for inner in value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return value
