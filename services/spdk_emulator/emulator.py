"""Everything that one emulated SPDK process holds. All of it is lost with the process, except the lvol stores."""

import os
import time

from spdk_emulator.bdev.iostat import TICK_RATE
from spdk_emulator.bdev.lvol_stores import LvolStores
from spdk_emulator.bdev.malloc import MallocBdevs
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.faults.bdev_gate import BdevGates
from spdk_emulator.faults.cuts import put_cuts
from spdk_emulator.faults.faults import Faults
from spdk_emulator.initiator.initiator import Initiator
from spdk_emulator.notify import Notifications
from spdk_emulator.nvmf.target import NvmfTarget


class Emulator:
    """The parts, and what they share."""

    def __init__(self, *, attach_s: float) -> None:
        self.pid = os.getpid()
        self._started = time.monotonic()
        self.notifications = Notifications()
        self.bdevs = Bdevs(self.notifications)
        self.faults = Faults()
        BdevGates(self.faults, self.bdevs)
        self.malloc = MallocBdevs()
        self.stores = LvolStores(self.bdevs)
        self.target = NvmfTarget(self.bdevs)
        self.initiator = Initiator(self.bdevs, attach_s)
        put_cuts(self.faults, self.target, self.initiator)

    def age_ticks(self) -> int:
        """Since its start."""
        return int((time.monotonic() - self._started) * TICK_RATE)

    def close(self) -> None:
        """Cuts every session and stops listening."""
        self.initiator.close()
        self.target.close()
