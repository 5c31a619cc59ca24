"""One subsystem, its namespaces and listeners: what it holds, and how SPDK shows it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from dpucsi.nvme_tcp.logs import AnaState
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.nvmf.address import Address
from spdk_emulator.rpc.params import Json

if TYPE_CHECKING:
    from spdk_emulator.nvmf.controller import Controller

ANA_STATES = {
    "optimized": AnaState.OPTIMIZED,
    "non_optimized": AnaState.NON_OPTIMIZED,
    "inaccessible": AnaState.INACCESSIBLE,
}


@dataclass
class Namespace:
    """A bdev under a number. `nguid` is 32 upper-case hex digits, `eui64` 16 or ""."""

    nsid: int
    bdev: Bdev
    uuid: str
    nguid: str
    eui64: str
    anagrpid: int
    is_auto_visible: bool = True

    def describe(self, *, ana_reporting: bool) -> dict[str, Json]:
        """As in nvmf_get_subsystems."""
        shown: dict[str, Json] = {
            "nsid": self.nsid,
            "bdev_name": self.bdev.name,
            "name": self.bdev.name,
            "nguid": self.nguid,
        }
        if self.eui64:
            shown["eui64"] = self.eui64
        shown["uuid"] = self.uuid
        if ana_reporting:
            shown["anagrpid"] = self.anagrpid
        return shown


@dataclass(eq=False)
class Listener:
    """One place where a subsystem is served. `groups`: the ANA groups whose state is not the listener's own."""

    address: Address
    ana_state: str = "optimized"
    secure_channel: bool = False
    groups: dict[int, str] = field(default_factory=dict)

    def state_of(self, anagrpid: int) -> str:
        """How well the namespaces of that group are reached here."""
        return self.groups.get(anagrpid, self.ana_state)

    def set_state(self, state: str, anagrpid: int) -> None:
        """Of one group; 0: of all."""
        if anagrpid:
            self.groups[anagrpid] = state
        else:
            self.ana_state = state
            self.groups.clear()

    def describe(self, subsystem: "Subsystem") -> dict[str, Json]:
        """As in nvmf_subsystem_get_listeners."""
        shown: dict[str, Json] = {"address": self.address.describe()}
        if subsystem.ana_reporting:
            shown["ana_states"] = [
                {"ana_group": group, "ana_state": self.state_of(group)}
                for group in range(1, subsystem.max_namespaces + 1)
            ]
        return shown


@dataclass
class Subsystem:
    """An NVMe subsystem. `listeners` has the newest first, as SPDK shows them; `controllers` in order of Connect."""

    nqn: str
    serial_number: str
    model_number: str
    admin_label: str
    max_namespaces: int
    min_cntlid: int
    max_cntlid: int
    allow_any_host: bool
    ana_reporting: bool
    passthrough: bool
    dmrsl: int
    wzsl: int
    hosts: list[str] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    namespaces: dict[int, Namespace] = field(default_factory=dict)
    controllers: "list[Controller]" = field(default_factory=list)
    _next_cntlid: int = 0

    def allows(self, hostnqn: str) -> bool:
        """Whether this host may connect."""
        return self.allow_any_host or hostnqn in self.hosts

    def new_cntlid(self) -> int | None:
        """The next controller id that is not in use; None where all are."""
        used = {controller.cntlid for controller in self.controllers}
        for _ in range(self.max_cntlid - self.min_cntlid + 1):
            cntlid = max(self._next_cntlid, self.min_cntlid)
            self._next_cntlid = cntlid + 1 if cntlid < self.max_cntlid else self.min_cntlid
            if cntlid not in used:
                return cntlid
        return None

    def visible(self) -> dict[int, Namespace]:
        """What a connected host sees, by nsid."""
        return {nsid: entry for nsid, entry in sorted(self.namespaces.items()) if entry.is_auto_visible}

    def describe(self) -> dict[str, Json]:
        """As in nvmf_get_subsystems."""
        shown: dict[str, Json] = {
            "nqn": self.nqn,
            "subtype": "NVMe",
            "listen_addresses": [listener.address.describe() for listener in self.listeners],
            "allow_any_host": self.allow_any_host,
            "hosts": [{"nqn": host} for host in self.hosts],
            "serial_number": self.serial_number,
            "model_number": self.model_number,
        }
        if self.admin_label:
            shown["admin_label"] = self.admin_label
        return shown | {
            "max_namespaces": self.max_namespaces,
            "passthrough": self.passthrough,
            "min_cntlid": self.min_cntlid,
            "max_cntlid": self.max_cntlid,
            "dmrsl": self.dmrsl,
            "wzsl": self.wzsl,
            "namespaces": [
                entry.describe(ana_reporting=self.ana_reporting) for _, entry in sorted(self.namespaces.items())
            ],
        }


def default_nguid(bdev: Bdev) -> str:
    """SPDK takes the bdev's uuid where nobody said an nguid."""
    return UUID(bdev.uuid).hex.upper()
