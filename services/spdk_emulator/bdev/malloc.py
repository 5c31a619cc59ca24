"""Bdevs in memory: gone with the process."""

import errno
import os
from uuid import uuid4

from spdk_emulator.bdev.bdev import MALLOC, Bdev
from spdk_emulator.bdev.io import FileIo
from spdk_emulator.rpc.errors import refused

BYTES_MAX = 1 << 40  # more than any memory; sparse below


class MallocBdevs:
    """Makes them, and names those that nobody named."""

    def __init__(self) -> None:
        self._unnamed = 0

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
        io = FileIo(memory)
        return Bdev(name, [identity], identity, MALLOC, block_size, num_blocks, io, dict, close=io.close)
