"""Everything that one emulated SPDK process holds. All of it is lost with the process, except the lvol stores."""

import os
import time
from pathlib import Path

from spdk_emulator.bdev.lvol_stores import LvolStores
from spdk_emulator.bdev.malloc import MallocBdevs
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.card.view import Card
from spdk_emulator.initiator.initiator import Initiator
from spdk_emulator.notify import Notifications
from spdk_emulator.nvmf.target import NvmfTarget
from spdk_emulator.nvmf.vfio_user import VfioUserEndpoints

TICK_RATE = 2_450_000_000  # ticks a second, as a processor's time stamp counter


class Emulator:
    """The parts, and what they share. `card`, `functions`: the emulated card and the folder of its functions."""

    def __init__(self, *, attach_s: float, card: Card | None = None, functions: Path | None = None) -> None:
        self.pid = os.getpid()
        self._started = time.monotonic()
        self.notifications = Notifications()
        self.bdevs = Bdevs(self.notifications)
        self.malloc = MallocBdevs()
        self.stores = LvolStores(self.bdevs)
        self.target = NvmfTarget(self.bdevs, VfioUserEndpoints(card, functions))
        self.initiator = Initiator(self.bdevs, attach_s)

    def age_ticks(self) -> int:
        """Since its start."""
        return int((time.monotonic() - self._started) * TICK_RATE)

    def close(self) -> None:
        """Cuts every session and stops listening."""
        self.initiator.close()
        self.target.close()
