"""All remote controllers: attached, detached, given up."""

import asyncio
import errno
from uuid import uuid4

import structlog

from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.fabric.messages import RefusedError
from spdk_emulator.initiator.controller import RemoteController
from spdk_emulator.initiator.options import LossOptions
from spdk_emulator.initiator.path import DELETING, NvmePath, PathSpec
from spdk_emulator.rpc.errors import RpcError, refused
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)
DETACH_S = 0.008  # recorded: 8 to 12 ms until a detach is answered


class Initiator:
    """Remote controllers by name, in the order in which they came."""

    def __init__(self, bdevs: Bdevs, attach_s: float) -> None:
        self._bdevs = bdevs
        self._attach_s = attach_s
        self.hostid = str(uuid4())
        self.default_hostnqn = f"nqn.2014-08.org.nvmexpress:uuid:{uuid4()}"
        self.default_loss = LossOptions()
        self.controllers: dict[str, RemoteController] = {}

    def knows(self, spec: PathSpec) -> bool:
        """Whether any remote controller has this very path for this host."""
        return any(
            (path.spec.address, path.spec.subnqn, path.spec.hostnqn) == (spec.address, spec.subnqn, spec.hostnqn)
            for controller in self.controllers.values()
            for path in controller.paths
        )

    async def attach(self, name: str, spec: PathSpec, loss: LossOptions, *, is_multipath: bool, bdevs_max: int) -> Json:
        """Connects a path; raises what SPDK would answer: -5 for everything that a target may have against it."""
        started = asyncio.get_running_loop().time()
        path = NvmePath(spec, loss)
        try:
            await path.connect()
        except (OSError, RefusedError) as reason:
            log.info("attach refused", controller=name, subnqn=spec.subnqn, reason=str(reason))
            raise refused(errno.EIO) from reason
        passed = asyncio.get_running_loop().time() - started
        await asyncio.sleep(max(self._attach_s - passed, 0))
        self._check_attached(name, path, bdevs_max)
        controller = self.controllers.setdefault(name, RemoteController(name, self._bdevs, is_multipath=is_multipath))
        controller.paths.append(path)
        path.on_change = controller.refresh
        path.on_gone = lambda: self._remove(controller, path)
        controller.refresh()
        return list(controller.bdev_names())

    def add_alternate(self, controller: RemoteController, spec: PathSpec) -> Json:
        """Keeps a second path for a failover; nothing is connected."""
        controller.paths[0].alternates.append(spec)
        return list(controller.bdev_names())

    def begin_detach(self, name: str, wanted: dict[str, str | None]) -> None:
        """Removes every path of `name` that matches; raises what SPDK would answer."""
        controller = self.controllers.get(name)
        if controller is None:
            raise refused(errno.ENODEV)
        matching = [path for path in controller.paths if path.spec.matches(wanted)]
        alternates = [
            (path, spec)
            for path in controller.paths
            for spec in path.alternates
            if any(wanted.values()) and spec.matches(wanted)
        ]
        if not matching and not alternates:
            raise refused(errno.ENXIO)
        for path, spec in alternates:
            path.alternates.remove(spec)
        for path in matching:
            self._remove(controller, path)

    async def end_detach(self) -> Json:
        """The answer comes a little later."""
        await asyncio.sleep(DETACH_S)
        return True

    def close(self) -> None:
        """Disconnects everything, leaving the bdevs as they are: the process ends."""
        for controller in self.controllers.values():
            for path in controller.paths:
                path.close()

    def _check_attached(self, name: str, path: NvmePath, bdevs_max: int) -> None:
        """What may have happened meanwhile; a path that is not taken is disconnected."""
        if path.state == DELETING:
            raise refused(errno.EIO)
        if self.knows(path.spec):
            path.close()
            raise refused(errno.EINVAL)
        if len(path.namespaces) > bdevs_max:
            path.close()
            raise RpcError(-errno.ERANGE, "Numerical result out of range")
        log.info("path attached", controller=name, subnqn=path.spec.subnqn, traddr=path.spec.address.traddr)

    def _remove(self, controller: RemoteController, path: NvmePath) -> None:
        controller.remove(path)
        if not controller.paths and self.controllers.get(controller.name) is controller:
            del self.controllers[controller.name]
