"""Waiting for a disk to come or to go: the kernel's uevents wake us, a look at the tree decides."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from dpucsi.aio import wait_until
from dpucsi.errors import FailedPreconditionError, TimedOutError
from dpucsi.model import HostDisk
from dpucsi.nvme.binding import ensure_bound
from dpucsi.nvme.find import find_disk, leftovers, node_problem
from dpucsi.nvme.sysfs import Disk, Sysfs
from dpucsi.nvme.uevents import Uevents, listen

SeenT = TypeVar("SeenT")
LISTEN_S = 0.25  # between two looks, when no uevent comes
LONGEST_LOOK_S = 0.05  # a look reads a few small files
SETTLE_S = 1.0  # a contradiction may be a disk on its way out or half set up; after this long it is one


async def wait_for_disk(sysfs: Sysfs, dev_root: Path, want: HostDisk, *, timeout_s: float) -> Disk:
    """The promised disk, once it and its node in `dev_root` are there; binds its function's driver if none is.

    Raises TimedOutError when it does not come, FailedPreconditionError when something else comes in its place.
    """
    loop = asyncio.get_running_loop()
    contradicted_since: float | None = None
    why = "nothing with its uuid or nguid is in the kernel's tree"

    async def look() -> Disk | None:
        nonlocal contradicted_since, why
        if want.pci_address:
            ensure_bound(sysfs, want.pci_address)
        try:
            disk = _with_node(sysfs, dev_root, want)
        except FailedPreconditionError as contradiction:
            why = str(contradiction)
            contradicted_since = contradicted_since or loop.time()
            if loop.time() - contradicted_since > SETTLE_S:
                raise
            return None
        if disk is None:
            contradicted_since = None
        return disk

    try:
        with _uevents(sysfs) as woken:
            return await _look_until(look, woken, f"disk of volume {want.uuid}", timeout_s)
    except TimedOutError as late:
        raise TimedOutError(
            f"the disk of volume {want.uuid} (nsid {want.nsid}, PCI address {want.pci_address or 'not named'}) did not "
            f"appear on this Host: {why}; try again, or see whether the Host scans that PCI function"
        ) from late


def _with_node(sysfs: Sysfs, dev_root: Path, want: HostDisk) -> Disk | None:
    disk = find_disk(sysfs, want)
    problem = node_problem(dev_root / disk.name, disk.dev) if disk else ""
    if problem:
        raise FailedPreconditionError(f"{problem}; it is not used for volume {want.uuid}")
    return disk


async def wait_until_gone(sysfs: Sysfs, want: HostDisk, *, timeout_s: float) -> None:
    """Returns once no block device, hidden paths included, shows the volume's identity; raises TimedOutError."""

    async def look() -> bool | None:
        return True if not leftovers(sysfs, want) else None

    try:
        with _uevents(sysfs) as woken:
            await _look_until(look, woken, f"end of the disk of volume {want.uuid}", timeout_s)
    except TimedOutError as late:
        raise TimedOutError(
            f"{', '.join(leftovers(sysfs, want))} still show volume {want.uuid} on this Host, so its slot on the DPU "
            "is not given back; try again"
        ) from late


@contextlib.contextmanager
def _uevents(sysfs: Sysfs) -> Iterator[Uevents | None]:
    """Only the kernel's own tree is announced; a tree elsewhere (the emulated card's) is looked at."""
    if not sysfs.is_kernel:
        yield None
        return
    with listen() as uevents:
        yield uevents


async def _look_until(
    look: Callable[[], Awaitable[SeenT | None]], uevents: Uevents | None, what: str, timeout_s: float
) -> SeenT:
    async def look_or_listen() -> SeenT | None:
        seen = await look()
        if seen is None and uevents is not None:
            await uevents.next(LISTEN_S)
            seen = await look()
        return seen

    return await wait_until(look_or_listen, what, timeout_s=timeout_s, longest_s=LONGEST_LOOK_S)
