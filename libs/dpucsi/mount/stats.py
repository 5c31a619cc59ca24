"""How full a mounted file system is, and whether anybody still holds a device. Both may hang on a dead device."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from dpucsi.mount.worker import with_deadline

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Usage:
    """Bytes or inodes. `available` is what an ordinary user can still have, so used + available <= total."""

    total: int
    available: int
    used: int


async def usage_of(path: Path) -> tuple[Usage, Usage]:
    """(bytes, inodes) of the file system seen at `path`. Raises TimedOutError or UnavailableError when it hangs."""
    seen = await with_deadline(f"statvfs of {path}", lambda: os.statvfs(path), timeout_s=TIMEOUT_S)
    size = seen.f_frsize
    space = Usage(seen.f_blocks * size, seen.f_bavail * size, (seen.f_blocks - seen.f_bfree) * size)
    return space, Usage(seen.f_files, seen.f_favail, seen.f_files - seen.f_ffree)


async def held(node: Path) -> bool:
    """Whether a file system of any mount namespace, device-mapper or anybody else has the device exclusively.

    An open with O_EXCL is refused by the kernel then (open(2), "block device"); a device that is gone is not held.
    """

    def try_exclusively() -> bool:
        try:
            os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as refused:
            return refused.errno == errno.EBUSY
        return False

    return await with_deadline(f"opening {node}", try_exclusively, timeout_s=TIMEOUT_S)
