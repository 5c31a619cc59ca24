"""What the kernel is told about a block device as a whole."""

import fcntl
import os
import struct
from pathlib import Path

BLKROSET = 0x125D  # linux/fs.h, _IO(0x12, 93)


def set_read_only(node: Path) -> None:
    """From now on nobody of this Host writes to the device, through whichever node or mount; ends with the device."""
    disk = os.open(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(disk, BLKROSET, struct.pack("i", 1))
    finally:
        os.close(disk)
