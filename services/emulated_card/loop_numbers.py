"""Which loop device a disk gets. The machine has one set of them, for all cards and all else that runs on it.

No number is given twice while the machine is up, as far as it has any left: what one Host remembers of a dead disk
(its device number, a device node that is still bind-mounted somewhere) must never mean the new disk of another.
"""

import errno
import fcntl
import os
from pathlib import Path

from dpucsi.errors import UnavailableError

CONTROL = "/dev/loop-control"
ADD, REMOVE = 0x4C80, 0x4C81  # linux/loop.h, LOOP_CTL_ADD and LOOP_CTL_REMOVE
FIRST = 1024  # above all that `losetup --find` makes for others
NEXT = Path("/run/emulated-card/next-loop")  # one for all cards; gone with the machine's boot, as the devices are


def make_loop() -> int:
    """The number of a new loop device, with nothing under it. Raises UnavailableError, OSError."""
    NEXT.parent.mkdir(parents=True, exist_ok=True)
    with NEXT.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read().strip()
        number = _add(int(text) if text.isdecimal() else FIRST)
        file.truncate(0)
        file.write(f"{number + 1}\n")
    return number


def remove_loop(number: int) -> bool:
    """Whether it is gone; False while somebody has it open."""
    try:
        _control(REMOVE, number)
    except OSError as refused:
        return refused.errno != errno.EBUSY
    return True


def _add(first: int) -> int:
    number, wrapped = max(FIRST, first), False
    while True:
        try:
            return _control(ADD, number)
        except OSError as refused:
            if refused.errno == errno.EEXIST:
                number += 1
            elif refused.errno == errno.EINVAL and not wrapped:  # beyond the last one: a minor number has 20 bits
                number, wrapped = FIRST, True
            else:
                raise UnavailableError(f"no loop device can be made: {refused.strerror}") from refused


def _control(request: int, number: int) -> int:
    control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(control, request, number)
    finally:
        os.close(control)
