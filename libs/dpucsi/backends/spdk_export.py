"""How a volume is exported by an SPDK NVMe-oF target: what is wanted, what differs, the calls that close the gap."""

from collections.abc import Awaitable
from dataclasses import dataclass
from uuid import UUID

from dpucsi import naming
from dpucsi.errors import FailedPreconditionError
from dpucsi.model import TargetPath
from dpucsi.spdk import SpdkClient, nvmf
from dpucsi.spdk.address import TransportAddress

MODEL = "dpu-csi volume"
NSID = 1


@dataclass(frozen=True)
class Gap:
    """What an export lacks. Nothing of it: `not gap`."""

    subsystem: bool = False
    namespace: bool = False
    hosts: tuple[str, ...] = ()
    listeners: tuple[TargetPath, ...] = ()

    def __bool__(self) -> bool:
        return self != Gap()

    def __str__(self) -> str:
        parts = ["the subsystem"] * self.subsystem + [f"namespace {NSID}"] * self.namespace
        parts += [f"host {nqn}" for nqn in self.hosts]
        parts += [f"listener {path.trtype} {path.traddr} {path.trsvcid}" for path in self.listeners]
        return ", ".join(parts)


@dataclass(frozen=True)
class Export:
    """One volume, its own subsystem: `bdev_name` as namespace 1 under the volume's identity, for one more host NQN."""

    uuid: UUID
    bdev_name: str
    hostnqn: str
    listeners: tuple[TargetPath, ...]

    @property
    def nqn(self) -> str:
        """Its subsystem."""
        return naming.subnqn(self.uuid)

    def gap(self, seen: nvmf.Subsystem | None) -> Gap:
        """What `seen` lacks. Raises FailedPreconditionError for what adding cannot mend: then it is not our making.

        More hosts and listeners than wanted are left alone: other nodes, and paths that hosts may be using.
        """
        if seen is None:
            return Gap(subsystem=True, namespace=True, hosts=(self.hostnqn,), listeners=self.listeners)
        self._check_ours(seen)
        listening = {(one.trtype, one.adrfam, one.traddr, one.trsvcid) for one in seen.listen_addresses}
        return Gap(
            namespace=not seen.namespaces,
            hosts=() if self.hostnqn in seen.hosts else (self.hostnqn,),
            listeners=tuple(
                path
                for path in self.listeners
                if (path.trtype, path.adrfam, path.traddr, path.trsvcid) not in listening
            ),
        )

    def _check_ours(self, seen: nvmf.Subsystem) -> None:
        serial, nguid = naming.serial(self.uuid), naming.nguid(self.uuid)
        shown = [(one.nsid, one.bdev_name, one.uuid, one.nguid) for one in seen.namespaces]
        wanted = (NSID, self.bdev_name, str(self.uuid), nguid)
        if seen.allow_any_host:
            found, want = "lets any host in", "an allow-list"
        elif seen.serial_number != serial:
            found, want = f"has the serial number {seen.serial_number!r}", repr(serial)
        elif shown not in ([], [wanted]):
            found, want = f"shows the namespaces (nsid, bdev, uuid, nguid) {shown}", f"{wanted} alone"
        else:
            return
        raise FailedPreconditionError(
            f"subsystem {self.nqn} {found}, wanted {want}; somebody else made or changed it: "
            "nvmf_delete_subsystem it once no host uses it, then publish again"
        )

    def calls(self, client: SpdkClient, gap: Gap) -> list[Awaitable[object]]:
        """The calls that close `gap`, to be sent in this order in one write: SPDK starts them in order."""
        calls: list[Awaitable[object]] = []
        if gap.subsystem:
            calls.append(
                nvmf.nvmf_create_subsystem(
                    client,
                    nqn=self.nqn,
                    serial_number=naming.serial(self.uuid),
                    model_number=MODEL,
                    max_namespaces=1,
                    allow_any_host=False,
                )
            )
        if gap.namespace:
            identity = {"uuid": str(self.uuid), "nguid": naming.nguid(self.uuid)}
            calls.append(
                nvmf.nvmf_subsystem_add_ns(client, nqn=self.nqn, bdev_name=self.bdev_name, nsid=NSID, **identity)
            )
        calls += [nvmf.nvmf_subsystem_add_host(client, nqn=self.nqn, host=nqn) for nqn in gap.hosts]
        for path in gap.listeners:
            address = TransportAddress(path.trtype, path.traddr, path.trsvcid, path.adrfam)
            calls.append(nvmf.nvmf_subsystem_add_listener(client, nqn=self.nqn, address=address))
        return calls
