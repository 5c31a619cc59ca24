"""Where the verbs work: this Host's kernel, its DPU and the records; and which mounts are a volume's."""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csi_node_host.dpu import Dpu
from csi_node_host.record import Volume, Volumes
from dpucsi.errors import FailedPreconditionError
from dpucsi.model import HostDisk
from dpucsi.mount.mounts import Mount
from dpucsi.naming import VolumeId
from dpucsi.nvme import Disk, Sysfs, find_disk, verify

Device = tuple[str, int, int]  # name in /dev, major, minor
_DELETED = "//deleted"  # how mountinfo ends the root of a bind mount whose source was removed
_DEAD_NODE = re.compile(r"/nvme\d+n\d+//deleted$")


@dataclass(frozen=True)
class Site:
    """The surroundings of every verb."""

    sysfs: Sysfs
    dev_root: Path
    dpu: Dpu
    volumes: Volumes
    disk_wait_s: float

    def node(self, disk: Disk) -> Path:
        """The device node of `disk`."""
        return self.dev_root / disk.name

    def verified(self, want: HostDisk) -> Disk:
        """The promised disk, proven now together with its node; raises FailedPreconditionError."""
        disk = find_disk(self.sysfs, want)
        return verify(self.sysfs, self.dev_root / (disk.name if disk else "nvme"), want)

    def devices_of(self, volume_id: VolumeId, volume: Volume | None) -> list[Device]:
        """Every device that is or was this volume's: as the kernel shows it by uuid, and as recorded in this boot.

        The recorded one may be dead and still mounted. Its numbers may also have gone to another volume's disk since;
        then it is not ours any more.
        """
        living = self.sysfs.devices()
        found: list[Device] = [(name, *dev) for name, dev, uuid in living if uuid == volume_id.uuid]
        recorded = volume.device if volume else None
        if recorded and recorded not in found and all(dev != recorded[1:] for _, dev, _ in living):
            found.append(recorded)
        return found


def identity(volume_id: VolumeId) -> HostDisk:
    """All that is known of a volume's disk without the DPU's promise."""
    return HostDisk(volume_id.uuid, volume_id.uuid.hex, nsid=0, size_bytes=0, pci_address="")


def device(disk: Disk) -> Device:
    """What the record keeps of a disk."""
    return (disk.name, *disk.dev)


def shows(mount: Mount, of: Device) -> bool:
    """Whether `mount` is a file system of this device, or a bind mount of its node."""
    name, *dev = of
    if mount.dev == tuple(dev):
        return True
    if mount.root.removesuffix(_DELETED).rpartition("/")[2] != name:
        return False
    try:
        seen = os.lstat(mount.path)  # a device node's own inode: no I/O on the device, nothing that could hang
    except OSError:
        return False
    return stat.S_ISBLK(seen.st_mode) and [os.major(seen.st_rdev), os.minor(seen.st_rdev)] == dev


def check_ours(site: Site, volume_id: VolumeId, devices: Sequence[Device], mounts: Sequence[Mount]) -> None:
    """Raises FailedPreconditionError where one of `mounts` is not the volume's, so not ours to unmount.

    With the device gone and no record left nobody can say whose a dead mount is; one of our device nodes that no living
    disk has can hold nothing any more, so it may go.
    """
    living = {dev for _, dev, _ in site.sysfs.devices()}
    for mount in mounts:
        dead_file_system = mount.source.startswith(f"{site.dev_root}/nvme") and mount.dev not in living
        dead = dead_file_system or bool(_DEAD_NODE.search(mount.root))
        if not (any(shows(mount, of) for of in devices) if devices else dead):
            raise FailedPreconditionError(
                f"what is mounted at {mount.path} is {mount}, not volume {volume_id}"
                + "".join(f" (device {name}, {major}:{minor})" for name, major, minor in devices)
                + "; it is left alone: unmount it by hand if nobody needs it"
            )
