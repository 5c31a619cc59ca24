"""One subsystem and its namespaces: what it holds, and how SPDK shows it."""

from dataclasses import dataclass, field
from uuid import UUID

from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.fabric.messages import NamespaceInfo
from spdk_emulator.fabric.target_session import TargetSession
from spdk_emulator.nvmf.address import Address
from spdk_emulator.rpc.params import Json


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

    def info(self) -> NamespaceInfo:
        """As an initiator sees it."""
        return NamespaceInfo(
            nsid=self.nsid,
            uuid=self.uuid,
            nguid=self.nguid.lower(),
            block_size=self.bdev.block_size,
            num_blocks=self.bdev.num_blocks,
            path=self.bdev.path,
            is_read_only=self.bdev.is_read_only,
        )


@dataclass
class Subsystem:
    """An NVMe subsystem. `listeners` has the newest first, as SPDK shows them."""

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
    listeners: "list[Listener]" = field(default_factory=list)
    namespaces: dict[int, Namespace] = field(default_factory=dict)
    sessions: list[TargetSession] = field(default_factory=list)
    _next_cntlid: int = 0

    def allows(self, hostnqn: str) -> bool:
        """Whether this host may connect."""
        return self.allow_any_host or hostnqn in self.hosts

    def new_cntlid(self) -> int | None:
        """The next controller id that is not in use; None where all are."""
        used = {session.cntlid for session in self.sessions}
        for _ in range(self.max_cntlid - self.min_cntlid + 1):
            cntlid = max(self._next_cntlid, self.min_cntlid)
            self._next_cntlid = cntlid + 1 if cntlid < self.max_cntlid else self.min_cntlid
            if cntlid not in used:
                return cntlid
        return None

    def visible(self) -> list[NamespaceInfo]:
        """What a connected host sees."""
        return [entry.info() for _, entry in sorted(self.namespaces.items()) if entry.is_auto_visible]

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


@dataclass(frozen=True)
class Listener:
    """One place where a subsystem is served."""

    address: Address
    ana_state: str = "optimized"
    secure_channel: bool = False

    def describe(self, subsystem: Subsystem) -> dict[str, Json]:
        """As in nvmf_subsystem_get_listeners."""
        shown: dict[str, Json] = {"address": self.address.describe()}
        if subsystem.ana_reporting:
            shown["ana_states"] = [
                {"ana_group": group, "ana_state": self.ana_state} for group in range(1, subsystem.max_namespaces + 1)
            ]
        return shown


def default_nguid(bdev: Bdev) -> str:
    """SPDK takes the bdev's uuid where nobody said an nguid."""
    return UUID(bdev.uuid).hex.upper()
