"""Bdevs in memory: gone with the process."""

import errno
import os
from uuid import uuid4

from spdk_emulator.bdev.bdev import MALLOC, Bdev
from spdk_emulator.rpc.errors import refused

BYTES_MAX = 1 << 40  # more than any memory; sparse below


class MallocBdevs:
    """Makes them and lets go of their memory."""

    def __init__(self) -> None:
        self._unnamed = 0
        self._memory: dict[Bdev, int] = {}

    def create(self, name: str | None, num_blocks: int, block_size: int, uuid: str | None) -> Bdev:
        """A new bdev; raises the errno that SPDK would answer."""
        if block_size == 0 or num_blocks * block_size >= BYTES_MAX:
            raise refused(errno.ENOMEM)
        if block_size % 512 or num_blocks == 0:
            raise refused(errno.EINVAL)
        identity = uuid or str(uuid4())
        if not name:
            name, self._unnamed = f"Malloc{self._unnamed}", self._unnamed + 1
        memory = os.memfd_create(name)
        os.truncate(memory, num_blocks * block_size)
        path = f"/proc/{os.getpid()}/fd/{memory}"
        bdev = Bdev(name, [identity], identity, MALLOC, block_size, num_blocks, path, dict)
        self._memory[bdev] = memory
        return bdev

    def free(self, bdev: Bdev) -> None:
        """Gives its memory back."""
        os.close(self._memory.pop(bdev))
