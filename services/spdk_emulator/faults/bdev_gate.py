"""Faults of bdevs: their I/O waits, comes late, or ends with a media error."""

import asyncio
from functools import partial

from dpucsi.nvme_tcp.status import UNRECOVERED_READ_ERROR, WRITE_FAULT, NvmeError
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.bdev.iostat import Operation
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.faults.faults import Armed, Faults
from spdk_emulator.faults.rules import IoRule


class BdevGates:
    """Stands before the I/O of every bdev while there is a rule about bdevs, and not in the way while there is none."""

    def __init__(self, faults: Faults, bdevs: Bdevs) -> None:
        self._faults = faults
        self._bdevs = bdevs
        faults.on_change.append(self._refresh)
        bdevs.on_registered.append(self._put)
        bdevs.on_removed.append(self._let_go)

    def _refresh(self) -> None:
        for bdev in self._bdevs:
            self._put(bdev)

    def _put(self, bdev: Bdev) -> None:
        bdev.counted.gate = partial(self._pass, bdev) if any(self._faults.of_io()) else None

    def _let_go(self, bdev: Bdev) -> None:
        """I/O that waits fails with its bdev."""
        for armed, _ in self._faults.of_io():
            armed.let_go(bdev)

    async def _pass(self, bdev: Bdev, operation: Operation, offset: int, length: int) -> None:
        for armed, rule in self._faults.of_io():
            is_meant = bdev.answers_to(rule.bdev) and operation in rule.operations
            if is_meant and rule.touches(offset, length, bdev.block_size) and armed.is_due(rule.nth):
                armed.hits += 1
                await _act(armed, rule, bdev, operation)


async def _act(armed: Armed, rule: IoRule, bdev: Bdev, operation: Operation) -> None:
    if rule.action == "stall":
        await armed.wait_for_release(bdev)
    elif rule.action == "delay":
        await asyncio.sleep(rule.seconds)
    elif operation == "read":
        raise NvmeError(UNRECOVERED_READ_ERROR, dnr=True)
    else:
        raise NvmeError(WRITE_FAULT, dnr=True)
