"""Loop devices, by the kernel's own calls (loop(4), include/uapi/linux/loop.h); they outlive who made them.

Clearing one that is in use is not refused: the kernel clears it when the last user closes it.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

CONFIGURE, CLEAR, SET_CAPACITY, GET_STATUS, GET_FREE = 0x4C0A, 0x4C01, 0x4C07, 0x4C05, 0x4C82
READ_ONLY = 1  # LO_FLAGS_READ_ONLY
NAME_MAX = 63
# struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encryption, flags; names and key; init
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")
_TRIES = 64  # another process may take the free device first


def attach(path: str, block_size: int, *, is_read_only: bool) -> int:
    """The number of a new loop device over `path`; raises OSError."""
    # The kernel makes a device read-only that was opened only for reading when it got its file.
    mode = os.O_RDONLY if is_read_only else os.O_RDWR
    backing = os.open(path, mode)
    try:
        flags = READ_ONLY if is_read_only else 0
        name = os.fsencode(path)[:NAME_MAX]
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
        for _ in range(_TRIES):
            number = _free()
            try:
                with _opened(number, mode) as device:
                    fcntl.ioctl(device, CONFIGURE, _CONFIG.pack(backing, block_size, info))
            except OSError as taken:
                if taken.errno != errno.EBUSY:
                    raise
                continue
            return number
        raise OSError(errno.EBUSY, "other processes take every free loop device", path)
    finally:
        os.close(backing)


def detach(number: int) -> None:
    """Lets go of it, now or when its last user closes it. Fine when nothing is there."""
    try:
        with _opened(number) as device:
            fcntl.ioctl(device, CLEAR)
    except OSError as gone:
        if gone.errno not in (errno.ENXIO, errno.ENOENT):
            raise


def refresh_size(number: int) -> None:
    """The file has another size now."""
    with _opened(number) as device:
        fcntl.ioctl(device, SET_CAPACITY)


def is_over(number: int, path: str) -> bool:
    """Whether this loop device stands on this very file."""
    try:
        found = Path(path).stat()
        with _opened(number) as device:
            status = fcntl.ioctl(device, GET_STATUS, bytes(_INFO.size))
    except OSError:
        return False
    device_number, inode = _INFO.unpack(status)[:2]
    return (device_number, inode) == (_kernel_dev(found.st_dev), found.st_ino)


def all_over(path: str) -> list[int]:
    """Every loop device on this file."""
    numbers = [
        int(loop.name.removeprefix("loop")) for loop in Path("/sys/block").glob("loop*") if (loop / "loop").is_dir()
    ]
    return [number for number in numbers if is_over(number, path)]


def dev_of(number: int) -> int:
    """Its device number, as in st_rdev."""
    return _node(number).stat().st_rdev


def _node(number: int) -> Path:
    return Path(f"/dev/loop{number}")


def _free() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        return fcntl.ioctl(control, GET_FREE)
    finally:
        os.close(control)


@contextlib.contextmanager
def _opened(number: int, mode: int = os.O_RDONLY) -> Iterator[int]:
    device = os.open(_node(number), mode)
    try:
        yield device
    finally:
        os.close(device)


def _kernel_dev(dev: int) -> int:
    """stat's device number as the loop driver reports it (huge_encode_dev is the same packing for small minors)."""
    major, minor = os.major(dev), os.minor(dev)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
