"""Mounting and unmounting by the system calls themselves (mount(2), umount(2)): Python has neither."""

import ctypes
import os
import stat
from pathlib import Path

from emulated_card.fuse.protocol import MAX_IO

FS_TYPE = "fuse.emulated-card"
_RDONLY, _NOSUID, _NODEV, _NOATIME = 1, 2, 4, 1024  # MS_* of linux/mount.h
_FORCE, _DETACH = 1, 2  # MNT_*; FORCE ends what waits in the FUSE connection, DETACH does not wait for who uses it

_libc = ctypes.CDLL(None, use_errno=True)


def mount(device: int, point: Path, *, is_read_only: bool) -> None:
    """A file at `point` (an empty file stands there), served by whoever reads `device`; raises OSError."""
    flags = _NOSUID | _NODEV | _NOATIME | (_RDONLY if is_read_only else 0)
    options = f"fd={device},rootmode={stat.S_IFREG:o},user_id=0,group_id=0,allow_other,max_read={MAX_IO}"
    if _libc.mount(point.name.encode(), os.fsencode(point), FS_TYPE.encode(), flags, options.encode()):
        raise _error(point)


def unmount(point: Path) -> None:
    """At once, whoever uses it: what waits inside fails with an I/O error. Raises OSError."""
    if _libc.umount2(os.fsencode(point), _FORCE | _DETACH):
        raise _error(point)


def abort(point: Path) -> None:
    """What waits for it fails, and all that comes; it may stay mounted, where somebody has it open."""
    _libc.umount2(os.fsencode(point), _FORCE)


def mounted_below(folder: Path) -> list[Path]:
    """The files of this kind below `folder`, one entry for each mount, those on top of others first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode().decode("unicode_escape"))
        if rest.startswith(f"{FS_TYPE} ") and point.is_relative_to(folder):
            points.append(point)
    return points[::-1]


def _error(point: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(point))
