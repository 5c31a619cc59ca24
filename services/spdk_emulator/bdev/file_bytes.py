"""Bytes of one open file at an offset, without a thread: a copy from the page cache is quicker than the hand-over."""

import ctypes
import errno
import os
from collections.abc import Iterator

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02  # FALLOC_FL_*, <linux/falloc.h>
_ZEROES = bytes(1 << 20)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)


def read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Exactly `length` bytes; what lies beyond the end of the file is zeroes. Raises OSError."""
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            return data + bytes(length - len(data))
        data += more
    return data


def write_at(descriptor: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    """All of `data`. Raises OSError."""
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)


def zero_at(descriptor: int, offset: int, length: int) -> None:
    """Makes a hole, or writes zeroes where there are no holes; the size of the file stays. Raises OSError."""
    if not length or _libc.fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, length) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
        raise OSError(number, os.strerror(number))
    for start in range(offset, offset + length, len(_ZEROES)):
        write_at(descriptor, start, memoryview(_ZEROES)[: min(offset + length - start, len(_ZEROES))])


def data_extents(descriptor: int, end: int) -> Iterator[tuple[int, int]]:
    """Where before `end` the file is no hole, as (start, stop). Raises OSError."""
    start = 0
    while start < end:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError as nothing:
            if nothing.errno == errno.ENXIO:  # no data behind this point
                return
            raise
        stop = os.lseek(descriptor, start, os.SEEK_HOLE)
        if start < end:
            yield start, min(stop, end)
        start = stop
