"""The target as a whole: its subsystems, and what follows when one of them changes."""

from collections.abc import Callable
from ipaddress import ip_address

import structlog

from dpucsi.nvme_tcp.fabrics import DISCOVERY_NQN, DiscoveryLog
from spdk_emulator.bdev.bdev import EXCLUSIVE_WRITE, Bdev
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.controller import Controller
from spdk_emulator.nvmf.discovery import DiscoveryController, entry
from spdk_emulator.nvmf.door import Door
from spdk_emulator.nvmf.host import Host
from spdk_emulator.nvmf.io_controller import IoController
from spdk_emulator.nvmf.listeners import TcpListeners
from spdk_emulator.nvmf.nqn import is_valid_nqn
from spdk_emulator.nvmf.queue_end import QueueEnd
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


class DiscoveryService:
    """The controllers of the discovery subsystem, and what they tell."""

    def __init__(self, subsystems: dict[str, Subsystem], transports: Transports) -> None:
        self._subsystems = subsystems
        self._transports = transports
        self._generation = 0
        self._last_cntlid = 0
        self.controllers: list[Controller] = []

    def admit(self, host: Host, end: QueueEnd) -> Controller:
        """A new controller for `host`."""
        self._last_cntlid = self._last_cntlid % 0xFFEF + 1
        local = end.queue.local
        family = "IPv6" if ":" in local[0] else "IPv4"
        controller = DiscoveryController(
            host,
            self._last_cntlid,
            listen_address=Address.make("TCP", family, local[0], str(local[1])),
            options=end.options,
            look=self.log,
            on_gone=self.controllers.remove,
        )
        self.controllers.append(controller)
        return controller

    def log(self, hostnqn: str) -> DiscoveryLog:
        """What this host may use."""
        entries = [
            entry(subsystem, listener, self._transports.options("TCP"))
            for subsystem in self._subsystems.values()
            if subsystem.allows(hostnqn)
            for listener in subsystem.listeners
            if listener.address.trtype == "TCP"
        ]
        return DiscoveryLog(self._generation, tuple(entries))

    def changed(self) -> None:
        """A subsystem, a listener or an allow-list."""
        self._generation += 1
        for controller in self.controllers:
            if isinstance(controller, DiscoveryController):
                controller.changed()


class NvmfTarget:
    """All subsystems by NQN, in the order in which they were made."""

    def __init__(self, bdevs: Bdevs) -> None:
        self._bdevs = bdevs
        self.transports = Transports()
        self.subsystems: dict[str, Subsystem] = {}
        self.discovery = DiscoveryService(self.subsystems, self.transports)
        self._door = Door(self.subsystems, self.discovery)
        self.is_cut: Callable[[Address], bool] = lambda _: False  # a fault on request: the listener is dead
        self._tcp = TcpListeners(
            lambda: QueueEnd(self._door, self.transports.options("TCP")),
            lambda traddr, port: self.is_cut(Address.make("TCP", None, traddr, str(port))),
        )
        self._vfio_user = VfioUserEndpoints(
            lambda address: QueueEnd(self._door, self.transports.options("VFIOUSER"), address)
        )
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
        """Ends every controller, then takes the subsystem away; its NQN is taken until then."""
        for listener in list(subsystem.listeners):
            self._unlisten(subsystem, listener)
        await self.cut(subsystem, lambda _: True)
        for namespace in list(subsystem.namespaces.values()):
            namespace.bdev.claim = ""
        subsystem.namespaces.clear()
        if self.subsystems.get(subsystem.nqn) is subsystem:
            del self.subsystems[subsystem.nqn]
        self.discovery.changed()

    def add_namespace(self, subsystem: Subsystem, namespace: Namespace) -> None:
        """Exports a bdev that nobody else has; every connected host is told."""
        namespace.bdev.claim = EXCLUSIVE_WRITE
        subsystem.namespaces[namespace.nsid] = namespace
        self._changed(subsystem, namespace.nsid)

    def remove_namespace(self, subsystem: Subsystem, nsid: int) -> None:
        """Takes it away from every connected host; see `settled` for the commands that it is doing."""
        namespace = subsystem.namespaces.pop(nsid, None)
        if namespace is None:
            raise invalid_parameters()
        namespace.bdev.claim = ""
        self._changed(subsystem, nsid)

    async def settled(self, subsystem: Subsystem, nsid: int) -> None:
        """Returns when the commands that were running on a namespace have ended; see `cut` for VFIOUSER."""
        for controller in list(subsystem.controllers):
            if controller.listen_address.trtype == "TCP":
                await controller.settled(nsid)

    def set_ana_group(self, subsystem: Subsystem, nsid: int, anagrpid: int) -> None:
        """Puts a namespace into another group; every connected host is told."""
        subsystem.namespaces[nsid].anagrpid = anagrpid
        for controller in _io_controllers(subsystem):
            controller.ana_changed()

    def set_ana_state(self, subsystem: Subsystem, listener: Listener, state: str, anagrpid: int) -> None:
        """Of one group, or of all (0); who came through this listener is told."""
        listener.set_state(state, anagrpid)
        for controller in _io_controllers(subsystem):
            if controller.listen_address == listener.address:
                controller.ana_changed()

    def add_listener(self, subsystem: Subsystem, listener: Listener) -> None:
        """Starts to listen; one answer for everything that is wrong, as SPDK gives."""
        address = listener.address
        if not self.transports.has(address.trtype) or any(known.address == address for known in subsystem.listeners):
            raise invalid_parameters()
        try:
            if address.trtype == "TCP":
                ip_address(address.traddr)
                self._tcp.listen(address.traddr, int(address.trsvcid), subsystem.nqn)
            else:
                self._vfio_user.listen(address)
        except (OSError, ValueError, OverflowError) as wrong:
            log.info("listener refused", address=address.describe(), error=str(wrong))
            raise invalid_parameters() from wrong
        subsystem.listeners.insert(0, listener)
        self.discovery.changed()

    async def remove_listener(self, subsystem: Subsystem, listener: Listener) -> None:
        """Stops listening and cuts who came this way; returns when none of their commands is running."""
        self._unlisten(subsystem, listener)
        await self.cut(subsystem, lambda controller: controller.listen_address == listener.address)

    async def cut(self, subsystem: Subsystem, chosen: Callable[[Controller], bool]) -> None:
        """The fence: ends the chosen controllers at once, and returns when none of their commands is running.

        What comes through a VFIOUSER listener is given up, not waited for: it may be waiting for a lost path, and it is
        on the storage node that its host is fenced off.
        """
        ending = [controller for controller in subsystem.controllers if chosen(controller)]
        for controller in ending:
            if controller.listen_address.trtype == "TCP":
                controller.cut()
            else:
                controller.cancel()
        for controller in ending:
            await controller.gone()

    def drop_cut(self) -> None:
        """Ends the controllers that came through a TCP listener that is cut, as a dead network does."""
        served = [controller for subsystem in self.subsystems.values() for controller in subsystem.controllers]
        for controller in (*served, *self.discovery.controllers):
            if controller.listen_address.trtype == "TCP" and self.is_cut(controller.listen_address):
                controller.cut()

    def close(self) -> None:
        """Stops listening everywhere, ends every controller."""
        for subsystem in self.subsystems.values():
            for listener in list(subsystem.listeners):
                self._unlisten(subsystem, listener)
            for controller in list(subsystem.controllers):
                controller.cancel()
        for controller in list(self.discovery.controllers):
            controller.cancel()

    def _unlisten(self, subsystem: Subsystem, listener: Listener) -> None:
        address = listener.address
        subsystem.listeners.remove(listener)
        if address.trtype == "TCP":
            self._tcp.stop(address.traddr, int(address.trsvcid), subsystem.nqn)
        else:
            self._vfio_user.stop(address)
        self.discovery.changed()

    @staticmethod
    def _changed(subsystem: Subsystem, nsid: int) -> None:
        for controller in _io_controllers(subsystem):
            controller.namespace_changed(nsid)

    def _bdev_removed(self, bdev: Bdev) -> None:
        for subsystem, nsid in self._exports(bdev):
            self.remove_namespace(subsystem, nsid)

    def _bdev_resized(self, bdev: Bdev) -> None:
        for subsystem, nsid in self._exports(bdev):
            self._changed(subsystem, nsid)

    def _exports(self, bdev: Bdev) -> list[tuple[Subsystem, int]]:
        return [
            (subsystem, nsid)
            for subsystem in self.subsystems.values()
            for nsid, namespace in subsystem.namespaces.items()
            if namespace.bdev is bdev
        ]


def _io_controllers(subsystem: Subsystem) -> list[IoController]:
    return [controller for controller in subsystem.controllers if isinstance(controller, IoController)]
