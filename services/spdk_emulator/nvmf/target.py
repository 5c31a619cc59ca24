"""The target as a whole: its subsystems, and what follows when one of them changes."""

from collections.abc import Callable
from ipaddress import ip_address

import structlog

from spdk_emulator.bdev.bdev import EXCLUSIVE_WRITE, Bdev
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.fabric.listeners import FabricListeners
from spdk_emulator.fabric.messages import Accepted, Connect, RefusedError
from spdk_emulator.fabric.target_session import TargetSession
from spdk_emulator.nvmf.nqn import DISCOVERY_NQN, is_valid_nqn
from spdk_emulator.nvmf.subsystem import Listener, Namespace, Subsystem
from spdk_emulator.nvmf.transport import Transports
from spdk_emulator.nvmf.vfio_user import VfioUserEndpoints
from spdk_emulator.rpc.errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError, invalid_parameters
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)
TARGET_NAME = "nvmf_tgt"
SUBSYSTEMS_MAX = 1024
NAMESPACES_MAX = 1 << 24  # beyond it the tables of a subsystem cannot be allocated
DISCOVERY: dict[str, Json] = {
    "nqn": DISCOVERY_NQN,
    "subtype": "Discovery",
    "listen_addresses": [],
    "allow_any_host": True,
    "hosts": [],
}


class NvmfTarget:
    """All subsystems by NQN, in the order in which they were made."""

    def __init__(self, bdevs: Bdevs, vfio_user: VfioUserEndpoints) -> None:
        self._bdevs = bdevs
        self._vfio_user = vfio_user
        self._fabric = FabricListeners(self._admit)
        self.transports = Transports()
        self.subsystems: dict[str, Subsystem] = {}
        self.max_subsystems = SUBSYSTEMS_MAX
        bdevs.on_removed.append(self._bdev_removed)
        bdevs.on_resized.append(self._bdev_resized)

    def find(self, nqn: str, tgt_name: str | None = None) -> Subsystem:
        """Raises what SPDK would answer."""
        self.check_name(tgt_name)
        subsystem = self.subsystems.get(nqn)
        if subsystem is None:
            raise RpcError(INVALID_PARAMS, f"Subsystem with NQN '{nqn}' not found")
        return subsystem

    @staticmethod
    def check_name(tgt_name: str | None) -> None:
        """There is one target; raises for another one's name."""
        if tgt_name is not None and tgt_name != TARGET_NAME:
            raise RpcError(INTERNAL_ERROR, f"Unable to find target {tgt_name}")

    def create(self, subsystem: Subsystem) -> None:
        """Adds a subsystem; one answer for a taken NQN and a malformed one, as SPDK gives."""
        nqn = subsystem.nqn
        if (
            not is_valid_nqn(nqn)
            or nqn == DISCOVERY_NQN
            or nqn in self.subsystems
            or subsystem.max_namespaces > NAMESPACES_MAX
            or len(self.subsystems) >= self.max_subsystems
        ):
            raise RpcError(INTERNAL_ERROR, f"Unable to create subsystem {nqn}")
        low, high = subsystem.min_cntlid, subsystem.max_cntlid
        if not 1 <= low <= high <= 65519:
            raise RpcError(INVALID_PARAMS, f"Invalid cntlid range [{low}-{high}]")
        self.subsystems[nqn] = subsystem

    async def delete(self, subsystem: Subsystem) -> None:
        """Ends every session, then takes the subsystem away; its NQN is taken until then."""
        for listener in list(subsystem.listeners):
            self.remove_listener(subsystem, listener)
        await self.cut(subsystem, lambda _: True)
        for namespace in list(subsystem.namespaces.values()):
            namespace.bdev.claim = ""
        subsystem.namespaces.clear()
        if self.subsystems.get(subsystem.nqn) is subsystem:
            del self.subsystems[subsystem.nqn]

    def add_namespace(self, subsystem: Subsystem, namespace: Namespace) -> None:
        """Exports a bdev that nobody else has; every connected host sees it by itself."""
        namespace.bdev.claim = EXCLUSIVE_WRITE
        subsystem.namespaces[namespace.nsid] = namespace
        self._changed(subsystem)

    def remove_namespace(self, subsystem: Subsystem, nsid: int) -> None:
        """Takes it away from every connected host."""
        namespace = subsystem.namespaces.pop(nsid, None)
        if namespace is None:
            raise invalid_parameters()
        namespace.bdev.claim = ""
        self._changed(subsystem)

    def add_listener(self, subsystem: Subsystem, listener: Listener) -> None:
        """Starts to listen; one answer for everything that is wrong, as SPDK gives."""
        address = listener.address
        if not self.transports.has(address.trtype) or any(known.address == address for known in subsystem.listeners):
            raise invalid_parameters()
        try:
            if address.trtype == "TCP":
                ip_address(address.traddr)
                self._fabric.listen(address.traddr, int(address.trsvcid), subsystem.nqn)
            else:
                self._vfio_user.listen(address.traddr)
        except (OSError, ValueError, OverflowError) as wrong:
            log.info("listener refused", address=address.describe(), error=str(wrong))
            raise invalid_parameters() from wrong
        subsystem.listeners.insert(0, listener)
        self._changed(subsystem)

    def remove_listener(self, subsystem: Subsystem, listener: Listener) -> None:
        """Stops listening, and cuts the sessions that came this way."""
        address = listener.address
        subsystem.listeners.remove(listener)
        if address.trtype == "TCP":
            self._fabric.stop(address.traddr, int(address.trsvcid), subsystem.nqn)
            for session in list(subsystem.sessions):
                if session.listen_address == address:
                    session.cut()
        else:
            self._vfio_user.stop(address.traddr)

    async def cut(self, subsystem: Subsystem, chosen: Callable[[TargetSession], bool]) -> None:
        """Ends the chosen sessions at once and returns when none of them is left."""
        for session in [session for session in subsystem.sessions if chosen(session)]:
            session.cut()
            await session.ended.wait()

    def close(self) -> None:
        """Stops listening everywhere, ends every session."""
        for subsystem in self.subsystems.values():
            for listener in list(subsystem.listeners):
                self.remove_listener(subsystem, listener)
            for session in list(subsystem.sessions):
                session.cut()

    def _admit(self, connect: Connect, session: TargetSession) -> Accepted:
        """Decides on a host that wants to connect; raises RefusedError."""
        subsystem = self.subsystems.get(connect.subnqn)
        if subsystem is None:
            raise RefusedError(f"no subsystem {connect.subnqn}")
        listener = _listener_at(subsystem, session)
        if listener is None or listener.secure_channel:
            raise RefusedError(f"{connect.subnqn} does not listen here in clear")
        if not is_valid_nqn(connect.hostnqn) or not subsystem.allows(connect.hostnqn):
            raise RefusedError(f"{connect.hostnqn} is not allowed on {connect.subnqn}")
        cntlid = subsystem.new_cntlid()
        if cntlid is None:
            raise RefusedError(f"{connect.subnqn} has no controller id left")
        session.admit(cntlid, listener.address, lambda: subsystem.sessions.remove(session))
        subsystem.sessions.append(session)
        return Accepted(
            cntlid=cntlid,
            serial_number=subsystem.serial_number,
            model_number=subsystem.model_number,
            ana_reporting=subsystem.ana_reporting,
            namespaces=subsystem.visible(),
        )

    def _changed(self, subsystem: Subsystem) -> None:
        for session in subsystem.sessions:
            session.announce(subsystem.visible())
        for listener in subsystem.listeners:
            if listener.address.trtype == "VFIOUSER":
                self._vfio_user.show(listener.address.traddr, subsystem)

    def _bdev_removed(self, bdev: Bdev) -> None:
        for subsystem in self.subsystems.values():
            for nsid, namespace in list(subsystem.namespaces.items()):
                if namespace.bdev is bdev:
                    self.remove_namespace(subsystem, nsid)

    def _bdev_resized(self, bdev: Bdev) -> None:
        for subsystem in self.subsystems.values():
            if any(namespace.bdev is bdev for namespace in subsystem.namespaces.values()):
                self._changed(subsystem)


def _listener_at(subsystem: Subsystem, session: TargetSession) -> Listener | None:
    here = [entry for entry in subsystem.listeners if entry.address.trtype == "TCP"]
    here = [entry for entry in here if entry.address.trsvcid == str(session.local[1])]
    return next(
        (entry for entry in here if entry.address.traddr in (session.local[0], "0.0.0.0", "::")),  # noqa: S104
        None,
    )
