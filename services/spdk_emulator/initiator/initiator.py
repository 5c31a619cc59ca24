"""All remote controllers: attached, detached, given up."""

import asyncio
import errno
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import structlog

from dpucsi.nvme_tcp.identify import CMIC_CONTROLLERS
from dpucsi.nvme_tcp.status import NvmeError
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.initiator.controller import RemoteController
from spdk_emulator.initiator.options import LossOptions, NvmeOptions
from spdk_emulator.initiator.path import DELETING, NvmePath
from spdk_emulator.initiator.spec import PathSpec
from spdk_emulator.nvmf.address import Address
from spdk_emulator.rpc.errors import RpcError, refused
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)
DETACH_S = 0.008  # recorded: 8 to 12 ms until a detach is answered
LEAVE_S = 1.0  # and at most so long where a controller takes its time to let us go


class Initiator:
    """Remote controllers by name, in the order in which they came."""

    def __init__(self, bdevs: Bdevs, attach_s: float) -> None:
        self._bdevs = bdevs
        self._attach_s = attach_s
        self.hostid = str(uuid4())
        self.default_hostnqn = f"nqn.2014-08.org.nvmexpress:uuid:{uuid4()}"
        self.options = NvmeOptions()
        self.controllers: dict[str, RemoteController] = {}
        self.is_cut: Callable[[Address], bool] = lambda _: False  # a fault on request: the path is dead

    def knows(self, spec: PathSpec) -> bool:
        """Whether any remote controller has this very path for this host."""
        return any(
            (path.spec.address, path.spec.subnqn, path.spec.hostnqn) == (spec.address, spec.subnqn, spec.hostnqn)
            for controller in self.controllers.values()
            for path in controller.paths
        )

    async def attach(self, name: str, spec: PathSpec, loss: LossOptions, *, is_multipath: bool, bdevs_max: int) -> Json:
        """Connects a path; raises what SPDK would answer: -5 for everything that a target may have against it."""
        path = await self._connect(name, spec, loss)
        try:
            self._check_attached(name, path, bdevs_max, is_multipath=is_multipath)
        except RpcError:
            path.close()
            raise
        controller = self.controllers.get(name)
        if controller is None:
            controller = RemoteController(name, self._bdevs, self.options, is_multipath=is_multipath)
            self.controllers[name] = controller
        controller.paths.append(path)
        path.on_change = controller.refresh
        path.on_gone = partial(self._remove, controller, path)
        controller.refresh()
        log.info("path attached", controller=name, subnqn=spec.subnqn, traddr=spec.address.traddr)
        return list(controller.bdev_names(path))

    async def add_alternate(self, name: str, spec: PathSpec, loss: LossOptions) -> Json:
        """Keeps a second path for a failover: it is tried, compared, and left again. The answer has no bdevs."""
        path = await self._connect(name, spec, loss)
        namespaces = path.namespaces
        path.close()
        controller = self.controllers.get(name)
        if controller is None:
            raise refused(errno.ENODEV)
        first = controller.paths[0]
        if spec.subnqn != first.spec.subnqn or not controller.shows_same(namespaces):
            raise refused(errno.EINVAL)
        if spec in (first.spec, *first.alternates):
            raise refused(errno.EALREADY)
        first.alternates.append(spec)
        return []

    def begin_detach(self, name: str, wanted: dict[str, str | None]) -> "list[asyncio.Task[None]]":
        """Removes every path of `name` that matches; raises what SPDK would answer. The tasks take leave of targets."""
        controller = self.controllers.get(name)
        if controller is None:
            raise refused(errno.ENODEV)
        is_found, leaving = False, []
        for path in list(controller.paths):
            kept = [spec for spec in path.alternates if not spec.matches(wanted)]
            is_found |= len(kept) < len(path.alternates)
            path.alternates[:] = kept
            if not path.spec.matches(wanted):
                continue
            is_found = True
            if path.alternates:
                path.fail_over()
            else:
                leaving.append(self._remove(controller, path))
        if not is_found:
            raise refused(errno.ENXIO)
        return [task for task in leaving if task is not None]

    async def end_detach(self, leaving: "list[asyncio.Task[None]]") -> Json:
        """The answer comes a little later."""
        await asyncio.sleep(DETACH_S)
        if leaving:
            await asyncio.wait(leaving, timeout=LEAVE_S)
        return True

    def drop_cut(self) -> None:
        """Loses the connections of the paths that are cut, as with a dead network."""
        for controller in list(self.controllers.values()):
            for path in list(controller.paths):
                path.drop_if_cut()

    def close(self) -> None:
        """Disconnects everything at once, leaving the bdevs as they are: the process ends."""
        for controller in self.controllers.values():
            for path in controller.paths:
                path.abort()

    async def _connect(self, name: str, spec: PathSpec, loss: LossOptions) -> NvmePath:
        """A connected path, not before the time that an attach takes; what goes wrong is -5."""
        started = asyncio.get_running_loop().time()
        path = NvmePath(spec, loss, self.options, self.is_cut)
        try:
            await path.connect()
        except (OSError, NvmeError) as reason:
            log.info("attach refused", controller=name, subnqn=spec.subnqn, reason=str(reason))
            raise refused(errno.EIO) from reason
        passed = asyncio.get_running_loop().time() - started
        try:
            await asyncio.sleep(max(self._attach_s - passed, 0))
        except asyncio.CancelledError:
            path.abort()
            raise
        return path

    def _check_attached(self, name: str, path: NvmePath, bdevs_max: int, *, is_multipath: bool) -> None:
        """What may have happened meanwhile, and what only the target could tell."""
        if path.state == DELETING or path.controller is None:
            raise refused(errno.EIO)
        if self.knows(path.spec):
            raise refused(errno.EINVAL)
        known = self.controllers.get(name)
        if known is not None and not (known.is_multipath and is_multipath and _may_share(known, path)):
            raise refused(errno.EINVAL)
        if len(path.namespaces) > bdevs_max:
            raise RpcError(-errno.ERANGE, "Numerical result out of range")

    def _remove(self, controller: RemoteController, path: NvmePath) -> "asyncio.Task[None] | None":
        controller.remove(path)
        if not controller.paths and self.controllers.get(controller.name) is controller:
            del self.controllers[controller.name]
        return path.close()


def _may_share(known: RemoteController, path: NvmePath) -> bool:
    """Whether several controllers lead there, and this is another one (bdev_nvme_check_multipath)."""
    live = [other.controller for other in (*known.paths, path) if other.controller is not None]
    cntlids = {controller.cntlid for controller in live}
    return len(cntlids) == len(live) and all(controller.identity.cmic & CMIC_CONTROLLERS for controller in live)
