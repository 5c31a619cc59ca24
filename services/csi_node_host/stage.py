"""NodeStageVolume: from a published volume to a mounted file system, or to a proven raw disk."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from csi_node_host.dpu import publication_of
from csi_node_host.record import State, Volume
from csi_node_host.site import Site, device
from csi_node_host.unstage import check_unused, derived, finish_unstage, give_back
from dpucsi.csi.capabilities import Access
from dpucsi.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from dpucsi.model import HostDisk
from dpucsi.mount.decide import Action, decide
from dpucsi.mount.device import set_read_only
from dpucsi.mount.format import busy, erase_unfinished, make_file_system
from dpucsi.mount.mounts import Mount, mount, mounts_at, read_mounts, unmount_all
from dpucsi.mount.probe import probe
from dpucsi.naming import VolumeId
from dpucsi.nvme import Disk
from dpucsi.nvme.wait import wait_for_disk

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Staging:
    """What one NodeStageVolume asks for, validated."""

    volume_id: VolumeId
    staging_path: Path
    access: Access
    placement: str
    content_source: bool
    publish_context: Mapping[str, str]

    @property
    def publication(self) -> str:
        """Which ControllerPublishVolume it is for."""
        return publication_of(self.publish_context)


async def stage(site: Site, wanted: Staging) -> None:
    """Resumes whatever a former call left; the same call again changes nothing.

    What was staged for an earlier publication is dead (it was taken back, perhaps without this Host: design section 4),
    so it is unstaged first; that fails while somebody still uses it.
    """
    volume = site.volumes.get(wanted.volume_id)
    if volume is not None and (volume.state is State.UNSTAGING or is_outdated(volume, wanted)):
        await finish_unstage(site, volume)
        volume = None
    if volume is not None:
        check_same(volume, wanted)
        if is_staged(site, volume):
            return
    check_staging_path(site, wanted)
    if volume is None:
        volume = await site.volumes.put(_intent(wanted))
        promise = await _attach_first(site, wanted)
    else:
        promise = await _attach(site, wanted)
    disk = await wait_for_disk(site.sysfs, site.dev_root, promise, timeout_s=site.disk_wait_s)
    check_writable(disk, volume)
    volume = replace(volume, disk=promise, device=device(disk))
    if volume.access.block:
        check_nothing_mounted(volume)
        if volume.access.read_only:
            set_read_only(site.node(site.verified(promise)), read_only=True)
    else:
        volume = await _ensure_mounted(site, volume, promise)
    await site.volumes.put(replace(volume, state=State.STAGED))


def _intent(wanted: Staging) -> Volume:
    return Volume(
        volume_id=wanted.volume_id,
        staging_path=str(wanted.staging_path),
        access=wanted.access,
        placement=wanted.placement,
        content_source=wanted.content_source,
        state=State.ATTACHING,
        publication=wanted.publication,
    )


def is_outdated(volume: Volume, wanted: Staging) -> bool:
    """Whether the record is of another publication; one that does not say is taken for this one."""
    return bool(volume.publication) and volume.publication != wanted.publication


def check_same(volume: Volume, wanted: Staging) -> None:
    """AlreadyExistsError where the record was made for other arguments."""
    differences = [
        f"{what} {found}, asked for {asked}"
        for what, found, asked in (
            ("staging_target_path", volume.staging_path, str(wanted.staging_path)),
            ("volume_capability", volume.access, wanted.access),
            ("placement", volume.placement, wanted.placement),
            ("content source", volume.content_source, wanted.content_source),
        )
        if found != asked
    ]
    if differences:
        raise AlreadyExistsError(
            f"volume {volume.volume_id} is {volume.state.value} on this Host with {'; '.join(differences)}; unstage it "
            "before staging it in another way"
        )


def is_staged(site: Site, volume: Volume) -> bool:
    """Whether nothing is left to do, as sysfs and mountinfo show it; needs no DPU."""
    if volume.state is not State.STAGED or volume.disk is None or volume.device is None:
        return False
    try:
        disk = site.verified(volume.disk)
    except FailedPreconditionError:
        return False  # it may come back by attaching; what contradicts is said when it is waited for
    if volume.access.block:
        return device(disk) == volume.device
    at = mounts_at(Path(volume.staging_path), read_mounts())
    return bool(at) and at[-1].dev == disk.dev and at[-1].fs_type == volume.access.fs_type


def check_staging_path(site: Site, wanted: Staging) -> None:
    """The path is a folder that no other volume claims. A mount on it is looked at when the disk is known."""
    for other in site.volumes.staged_at(str(wanted.staging_path)):
        if other.volume_id != wanted.volume_id:
            raise FailedPreconditionError(
                f"staging_target_path {wanted.staging_path} belongs to volume {other.volume_id} ({other.state.value}); "
                "unstage that one first or use another path"
            )
    if mounts_at(wanted.staging_path, read_mounts()):
        return
    if not wanted.staging_path.exists():
        raise FailedPreconditionError(
            f"staging_target_path {wanted.staging_path} does not exist; the CO creates this folder before it calls"
        )
    if wanted.staging_path.is_symlink() or not wanted.staging_path.is_dir():
        raise InvalidArgumentError(f"staging_target_path {wanted.staging_path} is not a folder; give one")


def check_nothing_mounted(volume: Volume) -> None:
    """A raw disk is only proven when it is staged; it has nothing to do with what somebody mounted there."""
    at = mounts_at(Path(volume.staging_path), read_mounts())
    if at:
        raise FailedPreconditionError(
            f"{at[-1]} is in the way of raw volume {volume.volume_id}; unmount it or use another path"
        )


async def _attach_first(site: Site, wanted: Staging) -> HostDisk:
    """Where the DPU says for good that it did nothing, the record that this very call made goes too."""
    try:
        return await _attach(site, wanted)
    except (InvalidArgumentError, ResourceExhaustedError):
        await site.volumes.remove(wanted.volume_id)
        raise


async def _attach(site: Site, wanted: Staging) -> HostDisk:
    """The DPU's promise. An attachment that this Host does not use any more is given back first.

    Such a one waits for this Host's word, or was made for an earlier publication, of which the record here is lost.
    """
    try:
        return await site.dpu.attach(wanted.volume_id, wanted.publish_context, wanted.placement)
    except FailedPreconditionError:
        there = await site.dpu.attachment(wanted.volume_id)
        if there is None or not (there.being_taken or there.publication != wanted.publication):
            raise
    log.info("giving back a former attachment first", being_taken=there.being_taken)
    check_unused(site, wanted.volume_id)
    await give_back(site, derived(wanted.volume_id, there))
    return await site.dpu.attach(wanted.volume_id, wanted.publish_context, wanted.placement)


def check_writable(disk: Disk, volume: Volume) -> None:
    """A read-only disk serves a reader only: mount(8) would turn a writable mount into a read-only one by itself."""
    if disk.read_only and not volume.access.read_only:
        raise FailedPreconditionError(
            f"the disk {disk} of volume {volume.volume_id} is read-only, wanted {volume.access}; ask for a reader-only "
            "access mode, or see why its target refuses writes"
        )


async def _ensure_mounted(site: Site, volume: Volume, promise: HostDisk) -> Volume:
    staging = Path(volume.staging_path)
    disk = site.verified(promise)
    everywhere = read_mounts()
    at = mounts_at(staging, everywhere)
    if at:
        check_mounted(at[-1], disk, volume)
        return volume
    elsewhere = [seen for seen in everywhere if seen.dev == disk.dev]
    if elsewhere:
        check_mounted(elsewhere[-1], disk, volume)  # it has content: neither probe nor mkfs are needed, or possible
    else:
        volume = await _ensure_file_system(site, volume, promise)
    disk = site.verified(promise)
    await mount(site.node(disk), staging, volume.access.fs_type, mount_options(volume, disk))
    at = mounts_at(staging, read_mounts())
    try:
        check_mounted(at[-1] if at else None, site.verified(promise), volume)
    except FailedPreconditionError:
        await unmount_all(staging)
        raise
    return volume


def check_mounted(seen: Mount | None, disk: Disk, volume: Volume) -> None:
    """FailedPreconditionError where `seen` is not this disk with the file system asked for."""
    if seen is None or seen.dev != disk.dev or seen.fs_type != volume.access.fs_type:
        raise FailedPreconditionError(
            f"{seen or 'nothing'} is mounted there, wanted {volume.access.fs_type} of {disk.name} (device "
            f"{disk.dev[0]}:{disk.dev[1]}) for volume {volume.volume_id}; unmount it or use another path"
        )


def mount_options(volume: Volume, disk: Disk) -> list[str]:
    """The CO's flags, and what the kinds of use demand.

    `rw` is spelled out, or mount(8) would fall back to read-only on a write-protected disk. A reader still lets the
    file system replay its journal after a crash; where other nodes read the same disk, or it cannot be written, nobody
    may, so those mount with `norecovery` (both ext4 and xfs know it). A clone of an xfs has its origin's UUID.
    """
    flags = [flag for flag in volume.access.mount_flags if flag not in ("ro", "rw")]
    flags.append("ro" if volume.access.read_only else "rw")
    if volume.access.read_only and (volume.access.multi_node or disk.read_only):
        flags.append("norecovery")
    if volume.access.fs_type == "xfs" and volume.content_source and "nouuid" not in flags:
        flags.append("nouuid")
    return flags


async def _ensure_file_system(site: Site, volume: Volume, promise: HostDisk) -> Volume:
    """The record as it is then. Raises where the disk carries anything but what was asked for."""
    action = await _decide(site, volume, promise)
    if action is Action.ERASE:
        node = site.node(site.verified(promise))
        log.warning("erasing a file system whose mkfs was cut; nothing was ever mounted there", disk=str(node))
        await erase_unfinished(node)
        action = await _decide(site, volume, promise)
    if action is Action.MOUNT:
        return volume
    if action is not Action.MKFS:
        raise UnavailableError(
            f"the disk of volume {volume.volume_id} was erased, and still carries the same; try again"
        )
    volume = await site.volumes.put(replace(volume, state=State.FORMATTING))
    log.info("formatting a blank disk", fs_type=volume.access.fs_type, disk=str(site.verified(promise)))
    await make_file_system(site.node(site.verified(promise)), volume.access.fs_type)
    return await site.volumes.put(replace(volume, state=State.FORMATTED))


async def _decide(site: Site, volume: Volume, promise: HostDisk) -> Action:
    """What to do with the disk as it is now; a refusal is raised."""
    disk = site.verified(promise)
    node = site.node(disk)
    if await busy(node):
        raise UnavailableError(
            f"the disk {disk} of volume {volume.volume_id} is held exclusively, perhaps by the mkfs of a former try or "
            "in another mount namespace; try again when that has ended"
        )
    decision = decide(
        await probe(node, disk.size_bytes),
        fs_type=volume.access.fs_type,
        content_source=volume.content_source,
        history=volume.history,
        read_only=volume.access.read_only or disk.read_only,
    )
    if decision.action is Action.REFUSE:
        kind = UnavailableError if decision.retry_helps else FailedPreconditionError
        raise kind(f"the disk {disk} of volume {volume.volume_id} is neither mounted nor formatted: {decision.reason}")
    return decision.action
