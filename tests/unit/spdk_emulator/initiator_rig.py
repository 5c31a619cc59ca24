"""An initiator against scripted controllers, for tests of both."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from tests.unit.nvme_tcp.scripted_controller import BLOCK, Memory, Scripted

from dpucsi.aio import wait_until
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.initiator.controller import RemoteController
from spdk_emulator.initiator.initiator import Initiator
from spdk_emulator.initiator.options import LossOptions
from spdk_emulator.initiator.spec import PathSpec
from spdk_emulator.notify import Notifications
from spdk_emulator.nvmf.address import Address

PATIENCE_S = 5
SUBNQN, HOSTNQN = "nqn.2024-01.io.example:s", "nqn.2024-01.io.example:h"
FOR_EVER = LossOptions(ctrlr_loss_timeout=-1, reconnect_delay=0.05)
DATA = b"\x5a" * BLOCK


class Rig:
    """An initiator, and as many controllers as a test wants; all of them are of one subsystem."""

    def __init__(self) -> None:
        self.notifications = Notifications()
        self.bdevs = Bdevs(self.notifications)
        self.initiator = Initiator(self.bdevs, attach_s=0)
        self.memory = Memory()
        self.targets: list[Scripted] = []
        self.ports: dict[int, Scripted] = {}

    async def target(self) -> tuple[Scripted, PathSpec]:
        target = Scripted()
        target.namespaces = {1: self.memory}
        target.cntlids = iter(range(len(self.targets) * 1000 + 1, 1 << 16))
        self.targets.append(target)
        return target, self.spec(await target.listen())

    def spec(self, port: int, **more: Any) -> PathSpec:
        address = Address("TCP", "IPv4", "127.0.0.1", str(port))
        return PathSpec(address, SUBNQN, HOSTNQN, str(uuid4()), **more)

    async def attach(self, *specs: PathSpec, loss: LossOptions = FOR_EVER, is_multipath: bool = True) -> Bdev:
        for spec in specs:
            await self.initiator.attach("r", spec, loss, is_multipath=is_multipath, bdevs_max=128)
        return self.bdev()

    def bdev(self) -> Bdev:
        found = self.bdevs.find("rn1")
        assert found is not None
        return found

    @property
    def controller(self) -> RemoteController:
        return self.initiator.controllers["r"]

    def states(self) -> list[str]:
        return [path.state for path in self.controller.paths]

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        async def look() -> bool | None:
            return True if is_so() else None

        await wait_until(look, what, timeout_s=PATIENCE_S, longest_s=0.02)

    def events(self) -> list[str]:
        return [str(event["type"]) for event in self.notifications.since(0, 100)]  # type: ignore[index,call-overload]


@asynccontextmanager
async def initiator_rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.initiator.close()
    for target in rig.targets:
        await target.stop()
