"""Where data gets lost in other drivers: wrong disks, lost records, dead devices."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.csi_node_host.rig import OTHER, VOLUME, digest, mounts_under

from csi_node_host.record import State
from dpucsi.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    TimedOutError,
    UnavailableError,
)
from dpucsi.model import HostDisk


def promise_size(size):
    def promise(disk):
        disk.size_bytes = size

    return promise


def promise_nsid(disk):
    disk.nsid += 1


def promise_address(disk):
    disk.pci_address = "0000:3b:00.7"


def promise_nguid(disk):
    disk.nguid = "f" * 32


def promise_other_volume(disk):
    disk.uuid = str(OTHER.uuid)


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        (promise_size(65 << 20), "at least 68157440"),
        (promise_nsid, "nsid 1 instead of 2"),
        (promise_address, "0000:3b:00.7"),
        (promise_nguid, "nguid"),
        (promise_other_volume, "wanted uuid 11111111"),
    ],
)
async def test_a_disk_that_is_not_the_promised_one_is_not_touched(rig, promise, words):
    before = digest(rig.file())
    rig.dpu.promise = promise
    with pytest.raises((FailedPreconditionError, UnavailableError), match=words):
        await rig.stage()
    assert digest(rig.file()) == before and mounts_under(rig.root) == []
    await rig.unstage()
    assert rig.dpu.attached == {}


async def test_a_second_disk_with_the_uuid(rig):
    rig.tree.add_disk(
        "nvme7n1",
        controllers=("nvme1",),
        uuid=VOLUME.uuid,
        nguid=VOLUME.uuid.hex,
        nsid=9,
        size_bytes=1 << 20,
        dev=(7, 99),
        multipath=True,
    )
    before = digest(rig.file())
    with pytest.raises(FailedPreconditionError, match="2 disks claim"):
        await rig.stage()
    assert digest(rig.file()) == before
    rig.tree.remove_disk("nvme7n1")
    await rig.unstage()


async def test_a_stale_device_node_leads_nowhere(rig):
    os.mknod(rig.tree.dev / "nvme0n1", 0o060600, os.makedev(7, 99))
    rig.dpu.plug = False
    rig.tree.add_disk(
        "nvme0n1",
        controllers=("nvme1",),
        uuid=VOLUME.uuid,
        nguid=VOLUME.uuid.hex,
        nsid=1,
        size_bytes=64 << 20,
        dev=(7, 98),
        node=False,
    )
    with pytest.raises(FailedPreconditionError, match="7:99 while"):
        await rig.stage()
    rig.tree.remove_disk("nvme0n1")
    await rig.unstage()


async def test_after_a_reboot_the_same_stage_mounts_again(rig):
    await rig.stage()
    await rig.publish()
    (rig.target / "x").write_text("kept")
    for path in reversed(mounts_under(rig.root)):
        subprocess.run(["umount", path], check=True)
    await rig.restart(boot_id="boot-2")
    assert rig.record().targets == {}
    await rig.stage()
    await rig.publish()
    assert (rig.target / "x").read_text() == "kept"
    await rig.unpublish()
    await rig.unstage()


# --- lost state file


async def test_without_a_record_everything_can_be_taken_back(rig):
    await rig.stage()
    await rig.publish()
    await rig.restart(lose_state=True)
    with pytest.raises(FailedPreconditionError, match=str(rig.target)):
        await rig.unstage()
    await rig.stats()
    await rig.unpublish()
    await rig.unstage()
    assert rig.dpu.attached == {} and mounts_under(rig.root) == []


async def test_without_a_record_publish_goes_by_what_the_kernel_shows(rig):
    await rig.stage()
    await rig.restart(lose_state=True)
    await rig.publish()
    await rig.unpublish()
    await rig.unstage()
    with pytest.raises(FailedPreconditionError, match="not staged"):
        await rig.publish()


async def test_without_a_record_stage_keeps_what_is_mounted(rig):
    await rig.stage()
    (rig.staging / "x").write_text("kept")
    await rig.restart(lose_state=True)
    await rig.stage()
    assert len(mounts_under(rig.root)) == 1 and (rig.staging / "x").read_text() == "kept"
    await rig.unstage()


async def test_without_a_record_and_without_the_dpu_nothing_is_called_done(rig):
    await rig.stage()
    await rig.restart(lose_state=True)
    rig.dpu.on_call = unreachable
    with pytest.raises(UnavailableError):
        await rig.unstage()
    rig.dpu.on_call = lambda name: None
    await rig.unstage()
    assert rig.dpu.attached == {}


def unreachable(name):
    raise UnavailableError(f"no DPU for {name}")


async def test_a_record_survives_as_it_was_written(rig):
    await rig.stage(context={"placement": "exclusive"}, flags=["noatime"])
    before = rig.record()
    assert before.disk == HostDisk(VOLUME.uuid, VOLUME.uuid.hex, 1, rig.dpu.size_bytes, "0000:3b:00.0")
    await rig.restart()
    assert rig.record() == before
    with pytest.raises(AlreadyExistsError):
        await rig.stage()
    await rig.unstage()


# --- giving back


async def test_the_slot_is_not_released_while_the_disk_is_seen(rig):
    await rig.stage()
    rig.site = replace(rig.site, disk_wait_s=0.1)
    rig.servicer._site = rig.site
    called: list[str] = []
    rig.dpu.on_call = called.append
    rig.dpu.unplug = False
    with pytest.raises(TimedOutError, match="slot on the DPU is not given back"):
        await rig.unstage()
    assert called == ["Detach"] and rig.record().state is State.UNSTAGING
    rig.dpu.pull(rig.dpu.attached[str(VOLUME)])
    await rig.unstage()
    assert rig.dpu.attached == {} and rig.record() is None


async def test_an_unconfirmed_attachment_is_finished_before_the_next_stage(rig):
    await rig.stage()
    await rig.unstage()
    called: list[str] = []
    rig.dpu.on_call = called.append
    await rig.site.dpu.attach(VOLUME, {"a": "b"}, "shared")
    await rig.site.dpu.detach(VOLUME)  # and nobody released it: this Host's records were lost in between
    called.clear()
    await rig.stage()
    assert called == ["Attach", "ListAttachments", "Detach", "Release", "Attach"]
    await rig.unstage()


async def test_unstage_while_the_dpu_is_away_is_resumed(rig):
    await rig.stage()
    rig.dpu.on_call = unreachable
    with pytest.raises(UnavailableError):
        await rig.unstage()
    assert mounts_under(rig.root) == []
    rig.dpu.on_call = lambda name: None
    await rig.restart()
    await rig.unstage()
    assert rig.dpu.attached == {}


async def test_a_mount_in_another_namespace_holds_the_disk(rig):
    await rig.stage()
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo up; exec cat"], stdin=-1, stdout=-1)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(FailedPreconditionError, match="another mount namespace") as refused:
            await rig.unstage()
        assert f"seen: cat ({holder.pid}) at {rig.staging}" in str(refused.value)
        assert str(VOLUME) in rig.dpu.attached
    finally:
        holder.communicate()
    await rig.unstage()


async def test_busy_is_named(rig):
    await rig.stage()
    with (rig.staging / "open").open("w"), pytest.raises(FailedPreconditionError, match="could not be unmounted"):
        await rig.unstage()
    await rig.unstage()


async def test_a_disk_that_died_under_its_mount(rig):
    await rig.stage()
    await rig.publish()
    plugged = rig.dpu.attached[str(VOLUME)]
    rig.dpu.pull(plugged)
    os.truncate(rig.file(), 0)
    with pytest.raises(FailedPreconditionError, match="not there any more"):
        await rig.publish(target=rig.root / "pods" / "second")
    with pytest.raises(UnavailableError, match="gone"):
        await rig.stats()
    await rig.unpublish()
    await rig.unstage()
    assert rig.dpu.attached == {} and mounts_under(rig.root) == []


@pytest.mark.parametrize("refusal", [InvalidArgumentError, ResourceExhaustedError])
async def test_what_the_dpu_refuses_for_good_changes_nothing(rig, refusal):
    def refuse(name):
        raise refusal("no")

    rig.dpu.on_call = refuse
    with pytest.raises(refusal):
        await rig.stage()
    assert rig.record() is None
    await rig.restart()
    assert rig.record() is None


async def test_a_raw_disk_that_died_without_a_record(rig):
    await rig.stage(fs_type="block")
    await rig.publish(fs_type="block")
    rig.dpu.pull(rig.dpu.attached[str(VOLUME)])
    await rig.restart(lose_state=True)
    await rig.unpublish()
    await rig.unstage()
    assert rig.dpu.attached == {} and not rig.target.exists()


async def test_a_raw_disk_that_came_back_under_another_name(rig):
    await rig.stage(fs_type="block")
    plugged = rig.dpu.attached[str(VOLUME)]
    rig.dpu.pull(plugged)
    number = Path(plugged.loop).stat().st_rdev
    rig.tree.add_disk(
        "nvme4n1",
        controllers=("nvme1",),
        uuid=VOLUME.uuid,
        nguid=VOLUME.uuid.hex,
        nsid=1,
        size_bytes=rig.dpu.size_bytes,
        dev=(os.major(number), os.minor(number)),
        multipath=True,
    )
    plugged.name = "nvme4n1"
    await rig.stage(fs_type="block")
    assert rig.record().device[0] == "nvme4n1"
    await rig.publish(fs_type="block")
    await rig.unpublish()
    await rig.unstage()


async def test_a_device_number_that_another_volume_has_now(rig):
    """The first volume's record still names it, since its unstage waits for the DPU."""
    await rig.stage(fs_type="block")
    rig.dpu.on_call = lambda name: unreachable(name) if name == "Release" else None
    with pytest.raises(UnavailableError):
        await rig.unstage()
    rig.dpu.on_call = lambda name: None
    del rig.dpu.attached[str(VOLUME)]  # so that its slot, name and loop device are free again
    other_staging = rig.root / "other"
    other_staging.mkdir()
    await rig.stage(volume=OTHER, path=other_staging)
    await set_device(rig, rig.record(OTHER).device)
    with pytest.raises(NotFoundError):
        await rig.stats(path=other_staging)
    with pytest.raises(FailedPreconditionError, match="left alone"):
        await rig.unpublish(target=other_staging)
    await rig.unstage()
    assert mounts_under(rig.root) == [str(other_staging)]
    await rig.unstage(volume=OTHER, path=other_staging)


async def set_device(rig, device):
    await rig.site.volumes.put(replace(rig.record(), device=device))


async def test_a_dead_mount_whose_disk_came_back_under_another_name(rig):
    await rig.stage()
    await rig.publish()
    plugged = rig.dpu.attached[str(VOLUME)]
    rig.dpu.pull(plugged)
    rig.tree.add_disk(
        "nvme4n1",
        controllers=("nvme1",),
        uuid=VOLUME.uuid,
        nguid=VOLUME.uuid.hex,
        nsid=1,
        size_bytes=rig.dpu.size_bytes,
        dev=(7, 98),
        multipath=True,
    )
    plugged.name = "nvme4n1"
    with pytest.raises(FailedPreconditionError, match="NodeStageVolume again"):
        await rig.publish(target=rig.root / "pods" / "second")
    with pytest.raises(UnavailableError, match="gone"):
        await rig.stats()
    await rig.unpublish()
    await rig.unstage()


async def test_unknown_volumes(rig):
    await rig.unstage()
    await rig.unpublish()
    with pytest.raises(NotFoundError):
        await rig.stats()
