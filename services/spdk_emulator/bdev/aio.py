"""Bdevs over a file or a block device."""

import errno
import os
import stat
from pathlib import Path
from uuid import uuid4

from spdk_emulator.bdev.bdev import AIO, Bdev
from spdk_emulator.bdev.io import FileIo
from spdk_emulator.rpc.errors import refused

BLOCK_SIZE_MIN = 512


def aio_bdev(
    name: str, filename: str, block_size: int, uuid: str | None, *, is_read_only: bool, fallocate: bool
) -> Bdev:
    """The bdev over `filename`; raises the errno that SPDK would answer."""
    size = _size(filename)
    if block_size < BLOCK_SIZE_MIN or block_size & (block_size - 1):
        raise refused(errno.EINVAL)
    identity = uuid or str(uuid4())
    io = _open(filename, is_read_only=is_read_only)
    return Bdev(
        name=name,
        aliases=[identity],
        uuid=identity,
        kind=AIO,
        block_size=block_size,
        num_blocks=size // block_size,
        io=io,
        is_read_only=is_read_only,
        extra_io_types=frozenset({"unmap"} if fallocate else ()),
        details=lambda: {
            "aio": {
                "filename": filename,
                "block_size_override": True,
                "readonly": is_read_only,
                "fallocate": fallocate,
                "nowait": False,
            }
        },
        close=io.close,
    )


def base_file(bdev: Bdev) -> str:
    """The file of an aio bdev."""
    shown = bdev.details()["aio"]
    return str(shown["filename"]) if isinstance(shown, dict) else ""


def _open(filename: str, *, is_read_only: bool) -> FileIo:
    try:
        return FileIo(os.open(filename, os.O_RDONLY if is_read_only else os.O_RDWR))
    except OSError as wrong:
        raise refused(wrong.errno or errno.EIO) from wrong


def _size(filename: str) -> int:
    try:
        found = Path(filename).stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_size
        with Path(filename).open("rb") as device:
            return device.seek(0, os.SEEK_END)
    except OSError as wrong:
        raise refused(wrong.errno or errno.EIO) from wrong
