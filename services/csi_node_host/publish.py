"""NodePublishVolume and NodeUnpublishVolume: bind mounts of what was staged. Neither needs the DPU."""

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from csi_node_host.record import State, Volume
from csi_node_host.site import Site, check_ours, device, identity, shows
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.csi.capabilities import Access
from dpucsi.errors import AlreadyExistsError, FailedPreconditionError
from dpucsi.model import HostDisk
from dpucsi.mount.mounts import Mount, bind, copies_at, make_bind_read_only, mounts_at, read_mounts, unmount_all
from dpucsi.naming import VolumeId
from dpucsi.nvme import Disk, find_disk

SINGLE_WRITER = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_SINGLE_WRITER


@dataclass(frozen=True)
class Publishing:
    """What one NodePublishVolume asks for, validated."""

    volume_id: VolumeId
    staging_path: Path
    target_path: Path
    access: Access
    read_only: bool


async def publish(site: Site, wanted: Publishing) -> None:
    """Shows the staged file system, or the device node of a raw volume, at the target path.

    A reader-only access mode makes the whole device read-only when it is staged. `readonly` of a raw volume that others
    may write is a read-only bind mount of its node; the kernel lets a device be written through one, so there it is the
    container runtime that withholds the right to write (kubelet tells it).
    """
    volume = site.volumes.get(wanted.volume_id) or _recovered(site, wanted)
    promise = check_staged(volume, wanted)
    disk = check_source(site, volume, promise)
    mounts = read_mounts()
    on_target = mounts_at(wanted.target_path, mounts)
    if on_target and await _published_already(volume, wanted, disk, on_target[-1]):
        return
    if not on_target:
        check_writers(volume, wanted, disk, mounts)
        targets = volume.targets | {str(wanted.target_path): wanted.read_only}
        volume = await site.volumes.put(replace(volume, targets=targets))
        make_target(wanted.target_path, block=volume.access.block)
        disk = check_source(site, volume, promise)  # the write of the record took time
        await bind(site.node(disk) if volume.access.block else wanted.staging_path, wanted.target_path)
        await _check_target(site, volume, promise, wanted.target_path)
    if wanted.read_only:
        await make_bind_read_only(wanted.target_path)


def check_staged(volume: Volume, wanted: Publishing) -> HostDisk:
    """The DPU's promise to the staged volume; FailedPreconditionError where it is not staged as asked."""
    if volume.state is not State.STAGED or volume.disk is None or volume.staging_path != str(wanted.staging_path):
        raise FailedPreconditionError(
            f"volume {wanted.volume_id} is {volume.state.value} at {volume.staging_path}, wanted it staged at "
            f"{wanted.staging_path}; call NodeStageVolume first"
        )
    if volume.access != wanted.access:
        raise FailedPreconditionError(
            f"volume {wanted.volume_id} is staged as {volume.access}, asked for {wanted.access}, or with other mount "
            "flags; publish it with the volume_capability that it was staged with"
        )
    return volume.disk


def check_source(site: Site, volume: Volume, promise: HostDisk) -> Disk:
    """The disk, proven now; for a file system also that it is the one mounted at the staging path."""
    disk = site.verified(promise)
    if volume.access.block:
        return disk
    at = mounts_at(Path(volume.staging_path), read_mounts())
    if not at or at[-1].dev != disk.dev or at[-1].fs_type != volume.access.fs_type:
        raise FailedPreconditionError(
            f"{at[-1] if at else 'nothing'} is mounted at staging path {volume.staging_path}, wanted "
            f"{volume.access.fs_type} of {disk}; call NodeStageVolume again"
        )
    return disk


async def _published_already(volume: Volume, wanted: Publishing, disk: Disk, seen: Mount) -> bool:
    """True: nothing to do. False: ours, but cut before it became read-only. Anything else raises."""
    if not is_publication(seen, volume, disk):
        raise FailedPreconditionError(
            f"target_path {wanted.target_path} has {seen} mounted on it, wanted volume {volume.volume_id} ({disk}); "
            "unmount it or use another path"
        )
    if seen.read_only == (wanted.read_only or volume.access.read_only):
        return True
    if volume.access.block and volume.access.read_only and not wanted.read_only:
        return True  # the node is not bound read-only, and does not have to be: its disk or its reader is
    if wanted.read_only and volume.targets.get(str(wanted.target_path)) is True:
        return False
    raise AlreadyExistsError(
        f"volume {volume.volume_id} is published at {wanted.target_path} {_word(seen.read_only)}, asked for "
        f"{_word(wanted.read_only)}; unpublish it first"
    )


def is_publication(seen: Mount, volume: Volume, disk: Disk) -> bool:
    """The whole file system, or the device node of a raw volume; not the one for the other."""
    if volume.access.block:
        return seen.dev != disk.dev and shows(seen, device(disk))
    return seen.dev == disk.dev and seen.root == "/"


def _word(read_only: bool) -> str:
    return "read-only" if read_only else "writable"


def check_writers(volume: Volume, wanted: Publishing, disk: Disk, mounts: list[Mount]) -> None:
    """SINGLE_NODE_SINGLE_WRITER: one target at a time (CSI spec, NodePublishVolume)."""
    if volume.access.mode != SINGLE_WRITER:
        return
    at_staging = copies_at(Path(volume.staging_path), mounts)
    others = [seen.path for seen in mounts if seen not in at_staging and shows(seen, device(disk))]
    if others:
        raise FailedPreconditionError(
            f"volume {volume.volume_id} is published at {', '.join(others)} and its access mode allows one target "
            f"only; unpublish it there before publishing it at {wanted.target_path}"
        )


def make_target(target: Path, *, block: bool) -> None:
    """An empty folder or file to mount on; one that is there already must be of the right kind."""
    try:
        if block:
            os.close(os.open(target, os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
        else:
            target.mkdir(mode=0o750, exist_ok=True)
        kind = target.lstat().st_mode
    except OSError as refused:
        raise FailedPreconditionError(
            f"target_path {target} cannot be made: {refused.strerror}; wanted {'a file' if block else 'a folder'} in a "
            "folder that the CO has made"
        ) from refused
    if not (stat.S_ISREG(kind) if block else stat.S_ISDIR(kind)):
        raise FailedPreconditionError(
            f"target_path {target} is not {'a plain file' if block else 'a folder'}; remove it"
        )


async def _check_target(site: Site, volume: Volume, promise: HostDisk, target: Path) -> None:
    """Takes the new mount away again where it turns out to show something else."""
    try:
        disk = check_source(site, volume, promise)
        check_shown(volume, disk, target)
    except FailedPreconditionError:
        await unmount_all(target)
        raise


def check_shown(volume: Volume, disk: Disk, target: Path) -> None:
    """FailedPreconditionError where something else than this volume is seen at its target."""
    at = mounts_at(target, read_mounts())
    if not at or not is_publication(at[-1], volume, disk):
        raise FailedPreconditionError(
            f"{at[-1] if at else 'nothing'} appeared at {target}, wanted volume {volume.volume_id} ({disk}); try again"
        )


async def unpublish(site: Site, volume_id: VolumeId, target: Path) -> None:
    """Unmounts the target and removes it. Asks nothing of the disk, which may be dead."""
    volume = site.volumes.get(volume_id)
    on_target = mounts_at(target, read_mounts())
    if on_target:
        check_ours(site, volume_id, site.devices_of(volume_id, volume), on_target)
        await unmount_all(target)
    remove_target(target)
    if volume is not None and str(target) in volume.targets:
        targets = {path: read_only for path, read_only in volume.targets.items() if path != str(target)}
        await site.volumes.put(replace(volume, targets=targets))


def remove_target(target: Path) -> None:
    """An empty folder or a plain empty file; anything else holds something that is not ours to delete."""
    try:
        seen = target.lstat()
        if stat.S_ISDIR(seen.st_mode):
            target.rmdir()
        elif stat.S_ISREG(seen.st_mode) and seen.st_size == 0:
            target.unlink()
        else:
            raise FailedPreconditionError(
                f"target_path {target} is neither an empty folder nor an empty file; it is left alone, move it away"
            )
    except FileNotFoundError:
        return
    except OSError as refused:
        what = "holds files" if refused.errno == errno.ENOTEMPTY else f"cannot be removed: {refused.strerror}"
        raise FailedPreconditionError(
            f"target_path {target} {what}, though nothing is mounted on it; look at it and move it away"
        ) from refused


def _recovered(site: Site, wanted: Publishing) -> Volume:
    """The record is lost: what the kernel shows by the volume's uuid stands in for the DPU's promise."""
    disk = find_disk(site.sysfs, identity(wanted.volume_id))
    at = mounts_at(wanted.staging_path, read_mounts())
    mounted = disk is not None and bool(at) and at[-1].dev == disk.dev and at[-1].fs_type == wanted.access.fs_type
    if disk is None or not (mounted or (wanted.access.block and not at)):
        raise FailedPreconditionError(
            f"volume {wanted.volume_id} is not staged at {wanted.staging_path} on this Host; call NodeStageVolume first"
        )
    return Volume(
        volume_id=wanted.volume_id,
        staging_path=str(wanted.staging_path),
        access=wanted.access,
        placement="shared",
        content_source=False,
        state=State.STAGED,
        disk=replace(identity(wanted.volume_id), nsid=disk.nsid, size_bytes=disk.size_bytes),
        device=device(disk),
    )
