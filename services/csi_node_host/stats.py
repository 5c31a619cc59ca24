"""NodeGetVolumeStats: how full a volume is. Needs no DPU, and does not hang on a dead disk."""

from pathlib import Path

from csi_node_host.site import Site, device, identity, shows
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.errors import NotFoundError, UnavailableError
from dpucsi.mount.mounts import mounts_at, read_mounts
from dpucsi.mount.stats import Usage, usage_of
from dpucsi.naming import VolumeId
from dpucsi.nvme import find_disk

Unit = csi_pb2.VolumeUsage.Unit


async def stats(site: Site, volume_id: VolumeId, path: Path) -> list[csi_pb2.VolumeUsage]:
    """Bytes and inodes of a file system, bytes of a raw disk. NotFoundError where `path` does not show the volume."""
    at = mounts_at(path, read_mounts())
    devices = site.devices_of(volume_id, site.volumes.get(volume_id))
    shown = next((of for of in devices if at and shows(at[-1], of)), None)
    if shown is None:
        raise NotFoundError(f"volume {volume_id} is not at {path}; give a path where it is staged or published")
    disk = find_disk(site.sysfs, identity(volume_id))
    if disk is None or device(disk) != shown:
        raise UnavailableError(
            f"the disk {shown[0]} of volume {volume_id} is gone from this Host, though {path} still shows it; "
            "unpublish and unstage the volume"
        )
    if at[-1].dev != disk.dev:  # a bind mount of the device node
        return [csi_pb2.VolumeUsage(total=disk.size_bytes, unit=Unit.BYTES)]
    space, inodes = await usage_of(path)
    return [_usage(space, Unit.BYTES), _usage(inodes, Unit.INODES)]


def _usage(usage: Usage, unit: Unit.ValueType) -> csi_pb2.VolumeUsage:
    return csi_pb2.VolumeUsage(total=usage.total, available=usage.available, used=usage.used, unit=unit)
