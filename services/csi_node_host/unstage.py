"""NodeUnstageVolume: the exact reverse of stage, and what a lost record leaves to be found out."""

from dataclasses import replace
from pathlib import Path

import structlog

from csi_node_host.dpu import Attachment
from csi_node_host.record import State, Volume
from csi_node_host.site import Device, Site, check_ours, identity, shows
from dpucsi.aio import wait_until
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.csi.capabilities import Access
from dpucsi.errors import FailedPreconditionError, TimedOutError
from dpucsi.mount.device import set_read_only
from dpucsi.mount.mounts import copies_at, mounted_elsewhere, mounts_at, read_mounts, unmount_all
from dpucsi.mount.stats import held
from dpucsi.naming import VolumeId
from dpucsi.nvme import leftovers
from dpucsi.nvme.binding import ensure_unbound
from dpucsi.nvme.find import node_problem
from dpucsi.nvme.wait import wait_until_gone

LET_GO_S = 5.0  # the kernel drops its last reference to an unmounted file system a moment later

log = structlog.get_logger(__name__)


async def unstage(site: Site, volume_id: VolumeId, staging_path: Path) -> None:
    """Raises FailedPreconditionError while the volume is still published; fine when nothing of it is left anywhere."""
    volume = site.volumes.get(volume_id)
    if volume is None:
        volume = await _recovered(site, volume_id, staging_path)
        if volume is None:
            return
    elif volume.staging_path != str(staging_path):
        raise FailedPreconditionError(
            f"volume {volume_id} is {volume.state.value} at {volume.staging_path}, not at {staging_path}; unstage it "
            "there"
        )
    await finish_unstage(site, volume)


async def finish_unstage(site: Site, volume: Volume) -> None:
    """Every step asks first whether it is done already; the record goes last."""
    staging = Path(volume.staging_path)
    devices = site.devices_of(volume.volume_id, volume)
    _check_unpublished(volume, staging, devices)
    check_ours(site, volume.volume_id, devices, mounts_at(staging, read_mounts()))
    if volume.state is not State.UNSTAGING:
        volume = await site.volumes.put(replace(volume, state=State.UNSTAGING))
    await unmount_all(staging)
    await give_back(site, volume)
    await site.volumes.remove(volume.volume_id)


async def give_back(site: Site, volume: Volume) -> None:
    """From a disk that is mounted nowhere here to a free slot on the DPU, once this Host's kernel has let go of it."""
    await _wait_until_let_go(site, volume.volume_id)
    _make_writable_again(site, volume)
    _unbind_if_alone(site, volume)
    await site.dpu.detach(volume.volume_id)
    await wait_until_gone(site.sysfs, identity(volume.volume_id), timeout_s=site.disk_wait_s)
    await site.dpu.release(volume.volume_id)


def check_unused(site: Site, volume_id: VolumeId) -> None:
    """FailedPreconditionError where a volume without a record is mounted somewhere."""
    devices = site.devices_of(volume_id, None)
    found = [mount.path for mount in read_mounts() if any(shows(mount, of) for of in devices)]
    if found:
        raise FailedPreconditionError(
            f"volume {volume_id} is attached for an earlier publication and in use at {', '.join(found)}, though "
            "nothing here remembers it; unmount it there"
        )


def _check_unpublished(volume: Volume, staging: Path, devices: list[Device]) -> None:
    mounts = read_mounts()
    own = copies_at(staging, mounts)
    published = [mount.path for mount in mounts if mount not in own and any(shows(mount, of) for of in devices)]
    if published:
        raise FailedPreconditionError(
            f"volume {volume.volume_id} is still in use at {', '.join(published)}; unpublish it there before unstaging"
        )


async def _wait_until_let_go(site: Site, volume_id: VolumeId) -> None:
    """A file system lives on while any mount namespace has it; taking its disk away would lose what it still holds."""

    async def held_disks() -> list[tuple[int, int]]:
        found = []
        for name in leftovers(site.sysfs, identity(volume_id)):
            node, dev = site.dev_root / name, site.sysfs.dev_of(name)
            if dev is not None and not node_problem(node, dev) and await held(node):
                found.append(dev)
        return found

    async def look() -> bool | None:
        return None if await held_disks() else True

    try:
        await wait_until(look, f"end of all use of volume {volume_id}", timeout_s=LET_GO_S)
    except TimedOutError as late:
        holders = [where for dev in await held_disks() for where in mounted_elsewhere(dev)]
        seen = f" (seen: {', '.join(holders)})" if holders else ""
        raise FailedPreconditionError(
            f"the disk of volume {volume_id} is unmounted here, but still held exclusively: mounted in another mount "
            f"namespace{seen}, or used by device-mapper; end that (lsblk, grep the device in /proc/*/mountinfo) and "
            "try again"
        ) from late


def _make_writable_again(site: Site, volume: Volume) -> None:
    """Takes back what stage did to a raw disk for readers."""
    if not (volume.access.block and volume.access.read_only):
        return
    for disk in site.sysfs.disks(lambda uuid, _: uuid == volume.volume_id.uuid):
        if not node_problem(site.node(disk), disk.dev):
            set_read_only(site.node(disk), read_only=False)


def _unbind_if_alone(site: Site, volume: Volume) -> None:
    """A function that is the volume's own is taken from its driver before the DPU pulls it."""
    if volume.placement != "exclusive" or volume.disk is None or not volume.disk.pci_address:
        return
    address = volume.disk.pci_address
    others = [
        disk for disk in site.sysfs.disks() if address in disk.pci_addresses and disk.uuid != volume.volume_id.uuid
    ]
    if not others:
        ensure_unbound(site.sysfs, address)


async def _recovered(site: Site, volume_id: VolumeId, staging_path: Path) -> Volume | None:
    """A record derived from the kernel and the DPU, where ours is lost; None when none of them knows the volume."""
    at = mounts_at(staging_path, read_mounts())
    attachment = await site.dpu.attachment(volume_id)
    if not at and attachment is None and not leftovers(site.sysfs, identity(volume_id)):
        return None
    log.warning("no record of this volume; derived from the kernel and the DPU", attached=attachment is not None)
    return derived(volume_id, attachment, staging_path=str(staging_path), fs_type=at[-1].fs_type if at else "")


def derived(volume_id: VolumeId, attachment: Attachment | None, *, staging_path: str = "", fs_type: str = "") -> Volume:
    """Stands in for a lost record, as far as giving the volume back goes."""
    disk = identity(volume_id)
    return Volume(
        volume_id=volume_id,
        staging_path=staging_path,
        access=Access(csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER, fs_type),
        placement=attachment.placement if attachment else "shared",
        content_source=False,
        state=State.STAGED,
        disk=replace(disk, pci_address=attachment.pci_address) if attachment else None,
    )
