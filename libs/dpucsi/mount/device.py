"""What the kernel is told about a block device as a whole."""

import fcntl
import os
import struct
from pathlib import Path

BLKROSET = 0x125D  # linux/fs.h, _IO(0x12, 93)


def set_read_only(node: Path, *, read_only: bool) -> None:
    """While it is, nobody of this Host writes to the device, through whichever node or mount.

    It ends with an NVMe disk, but not with a loop device, which is why it is taken back.
    """
    disk = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(disk, BLKROSET, struct.pack("i", read_only))
    finally:
        os.close(disk)
