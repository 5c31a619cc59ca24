"""What every bdev can do with its bytes, and the bdevs whose bytes are those of one file."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError
from spdk_emulator.bdev.file_bytes import read_at, write_at, zero_at

log = structlog.get_logger(__name__)
Data = bytes | bytearray | memoryview


class BlockIo(Protocol):
    """Offsets and lengths in bytes, multiples of the block size and inside of the bdev: the caller checked.

    Every method raises NvmeError.
    """

    async def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        ...

    async def write(self, offset: int, data: Data) -> None:
        """Returns when a read would see them; a flush makes them last."""
        ...

    async def flush(self) -> None:
        """Everything written before is durable when it returns."""
        ...

    async def unmap(self, offset: int, length: int) -> None:
        """The bytes are not needed any more; what a read gives is up to the bdev."""
        ...

    async def write_zeroes(self, offset: int, length: int) -> None:
        """As a write of zeroes."""
        ...


@contextmanager
def device_errors() -> Iterator[None]:
    """A failure of the file becomes what SPDK answers for every failure below its bdevs: Internal Device Error."""
    try:
        yield
    except OSError as wrong:
        log.info("I/O failed", error=str(wrong))
        raise NvmeError(INTERNAL_ERROR) from wrong


class FileIo:
    """The bytes of an open file or block device, which it closes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self, offset: int, length: int) -> bytes:
        """Zeroes beyond the end of the file."""
        with device_errors():
            return read_at(self._descriptor, offset, length)

    async def write(self, offset: int, data: Data) -> None:
        """Into the page cache."""
        with device_errors():
            write_at(self._descriptor, offset, data)

    async def flush(self) -> None:
        """The one call that really blocks, so it has a thread."""
        with device_errors():
            await asyncio.to_thread(os.fsync, self._descriptor)

    async def unmap(self, offset: int, length: int) -> None:
        """A hole: reads as zeroes."""
        with device_errors():
            zero_at(self._descriptor, offset, length)

    async def write_zeroes(self, offset: int, length: int) -> None:
        """A hole too."""
        with device_errors():
            zero_at(self._descriptor, offset, length)

    def close(self) -> None:
        """Once, when nothing runs any more."""
        os.close(self._descriptor)
