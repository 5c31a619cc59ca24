"""Finds the one disk that the DPU promised, and proves it again before each use.

The wrong disk is the worst thing this project could hand out (CVE-2023-2088), so whatever contradicts the promise is an
error that says what was found and what was wanted; there is no second-best match.
"""

import os
import stat
from pathlib import Path

from dpucsi.errors import FailedPreconditionError
from dpucsi.model import HostDisk
from dpucsi.nvme.sysfs import GONE_STATES, Disk, Sysfs


def find_disk(sysfs: Sysfs, want: HostDisk) -> Disk | None:
    """The disk, None while it is not there.

    Raises FailedPreconditionError where what is there is not what was promised. Found by UUID; by NGUID where a
    namespace shows no UUID.
    """
    nguid = want.nguid.lower()
    seen = sysfs.disks(lambda uuid, shown: uuid == want.uuid or (bool(nguid) and shown == nguid))
    alike = [disk for disk in seen if not _going(disk)]
    if not alike:
        return None
    if len(alike) > 1:
        raise FailedPreconditionError(
            f"{len(alike)} disks claim to be volume {want.uuid}: {'; '.join(map(str, alike))}; none is used until the "
            "DPU shows only one"
        )
    wrong = contradictions(alike[0], want)
    if wrong:
        raise FailedPreconditionError(
            f"disk {alike[0]} is not the disk that the DPU promised for volume {want.uuid}: {'; '.join(wrong)}; "
            "it is not used"
        )
    return alike[0]


def contradictions(disk: Disk, want: HostDisk) -> list[str]:
    """Every mark of `disk` that speaks against it. A mark that one side does not give says nothing."""
    wrong = []
    if disk.uuid is not None and disk.uuid != want.uuid:
        wrong.append(f"uuid {disk.uuid} instead of {want.uuid}")
    if disk.nguid and want.nguid and disk.nguid != want.nguid.lower():
        wrong.append(f"nguid {disk.nguid} instead of {want.nguid.lower()}")
    if want.nsid and disk.nsid != want.nsid:
        wrong.append(f"nsid {disk.nsid} instead of {want.nsid}")
    if disk.size_bytes < want.size_bytes or not disk.size_bytes:
        wrong.append(f"{disk.size_bytes} bytes where at least {want.size_bytes} were promised")
    if want.pci_address and want.pci_address.lower() not in disk.pci_addresses:
        wrong.append(f"PCI address {' and '.join(disk.pci_addresses) or 'unknown'} instead of {want.pci_address}")
    return wrong


def verify(sysfs: Sysfs, node: Path, want: HostDisk) -> Disk:
    """The disk behind `node`, proven now: the promise holds and the node is that very device.

    Called right before mkfs, mount and every publish. Raises FailedPreconditionError, also where the disk has gone.
    """
    disk = find_disk(sysfs, want)
    if disk is None:
        raise FailedPreconditionError(
            f"the disk of volume {want.uuid} is not there any more (wanted: {node}); stage the volume again"
        )
    if node.name != disk.name:
        raise FailedPreconditionError(f"the disk of volume {want.uuid} is {disk.name} now, {node} is not used")
    problem = node_problem(node, disk.dev)
    if problem:
        raise FailedPreconditionError(f"{problem}; it is not used for volume {want.uuid}")
    return disk


def node_problem(node: Path, dev: tuple[int, int]) -> str:
    """ "" where `node` is the block device `dev`; otherwise what it is: a stale node leads to somebody else's disk."""
    try:
        seen = node.lstat()
    except FileNotFoundError:
        return f"{node} does not exist"
    if not stat.S_ISBLK(seen.st_mode):
        return f"{node} is not a block device"
    found = (os.major(seen.st_rdev), os.minor(seen.st_rdev))
    if found != dev:
        return f"{node} is device {found[0]}:{found[1]} while the kernel's tree says {dev[0]}:{dev[1]}"
    return ""


def leftovers(sysfs: Sysfs, want: HostDisk) -> list[str]:
    """Names of all block devices, hidden paths too, that still show this volume's identity; empty: it is gone."""
    nguid = want.nguid.lower()
    return [name for name, (uuid, shown) in sysfs.marks().items() if uuid == want.uuid or (nguid and shown == nguid)]


def _going(disk: Disk) -> bool:
    return bool(disk.controllers) and all(part.state in GONE_STATES for part in disk.controllers)
