"""The messages of FUSE, protocol 7.31, that a single regular file needs (include/uapi/linux/fuse.h, fuse(4)).

Every number is in the machine's own byte order. A later kernel speaks 7.31 too, since it answers with the lower minor.
"""

import errno
import stat
import struct
from dataclasses import dataclass
from enum import IntEnum

MAJOR, MINOR = 7, 31
MAX_IO = 1 << 20  # bytes of a read or write: 256 pages, which is all that the kernel allows by default
# A buffer for one request of any kind: the header and the arguments of a write are below a page.
REQUEST_MAX = MAX_IO + 4096


class Opcode(IntEnum):
    """What the kernel asks. FORGET, BATCH_FORGET and INTERRUPT want no answer."""

    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43


# fuse_init_in.flags
ASYNC_READ, BIG_WRITES, ASYNC_DIO, MAX_PAGES = 1 << 0, 1 << 5, 1 << 15, 1 << 22
_WANTED = ASYNC_READ | BIG_WRITES | ASYNC_DIO | MAX_PAGES
# fuse_open_out.open_flags: no page cache in front of us, and writes beside each other
DIRECT_IO, PARALLEL_DIRECT_WRITES = 1 << 0, 1 << 6
# linux/falloc.h
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10

_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_INIT_IN = struct.Struct("=IIII")
_INIT_OUT = struct.Struct("=IIIIHHIIHH32x")
_ATTR = struct.Struct("=QII6Q10I")
_OPEN_OUT = struct.Struct("=QIi")
_IO_IN = struct.Struct("=QQIIQII")
_WRITE_OUT = struct.Struct("=II")
_FALLOCATE_IN = struct.Struct("=QQQII")
_STATFS_OUT = struct.Struct("=5Q4I24x")
DATA_AT = _IN.size + _IO_IN.size  # where the bytes of a WRITE begin


@dataclass(frozen=True)
class Request:
    """The head of one request; `unique` names it in its answer."""

    opcode: int
    unique: int
    length: int

    @classmethod
    def parse(cls, message: memoryview) -> "Request":
        """Of a whole message as read from /dev/fuse."""
        length, opcode, unique, *_ = _IN.unpack_from(message)
        return cls(opcode, unique, length)


def ranged(message: memoryview) -> tuple[int, int]:
    """(offset, length) of a READ or WRITE, in bytes."""
    _, offset, size, *_ = _IO_IN.unpack_from(message, _IN.size)
    return offset, size


def written(message: memoryview) -> bytes:
    """The bytes of a WRITE, a copy: the buffer is used again."""
    _, size = ranged(message)
    return bytes(message[DATA_AT : DATA_AT + size])


def fallocated(message: memoryview) -> tuple[int, int, int]:
    """(mode, offset, length) of a FALLOCATE."""
    _, offset, length, mode, _ = _FALLOCATE_IN.unpack_from(message, _IN.size)
    return mode, offset, length


def init_answer(message: memoryview, background: int) -> bytes | None:
    """The answer to INIT, `background` requests at a time; None where the kernel is older than this protocol."""
    major, minor, readahead, offered = _INIT_IN.unpack_from(message, _IN.size)
    if (major, minor) < (MAJOR, MINOR):
        return None
    pages = MAX_IO // 4096
    congestion = background * 3 // 4
    return _INIT_OUT.pack(MAJOR, MINOR, readahead, offered & _WANTED, background, congestion, MAX_IO, 1, pages, 0)


def attributes(size: int, block_size: int, *, is_read_only: bool) -> bytes:
    """The answer to GETATTR: not to be remembered, since the size may change."""
    mode = stat.S_IFREG | (0o400 if is_read_only else 0o600)
    times = (0, 0, 0)
    return _ATTR.pack(0, 0, 0, 1, size, size // 512, *times, *times, mode, 1, 0, 0, 0, block_size, 0)


def opened() -> bytes:
    """The answer to OPEN: direct I/O."""
    return _OPEN_OUT.pack(0, DIRECT_IO | PARALLEL_DIRECT_WRITES, 0)


def accepted(length: int) -> bytes:
    """The answer to WRITE."""
    return _WRITE_OUT.pack(length, 0)


def statistics(size: int, block_size: int) -> bytes:
    """The answer to STATFS; the loop driver takes its discard granularity from the block size."""
    return _STATFS_OUT.pack(size // block_size, 0, 0, 1, 0, block_size, 255, block_size, 0)


def answer(unique: int, length: int) -> bytes:
    """The head of a good answer with `length` bytes behind it."""
    return _OUT.pack(_OUT.size + length, 0, unique)


def refusal(unique: int, number: int) -> bytes:
    """The whole answer that says errno `number`."""
    return _OUT.pack(_OUT.size, -(number or errno.EIO), unique)
