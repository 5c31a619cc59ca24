import asyncio
import os
import stat
import subprocess
from uuid import uuid5

import pytest
from tests.unit.csi_node_host.rig import VOLUME, Modes, mounts_under

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.errors import AlreadyExistsError, BusyError, FailedPreconditionError
from dpucsi.mount.mounts import mounts_at, read_mounts
from dpucsi.naming import VolumeId

Unit = csi_pb2.VolumeUsage.Unit


@pytest.mark.parametrize(("fs_type", "size"), [("ext4", 64 << 20), ("xfs", 320 << 20)])
async def test_a_file_system_all_the_way_and_its_data_stays(rig, fs_type, size):
    rig.dpu.size_bytes = size
    await rig.stage(fs_type=fs_type)
    await rig.publish(fs_type=fs_type)
    (rig.target / "greeting").write_text("hello")

    space, inodes = await rig.stats()
    assert space.unit == Unit.BYTES and 0 < space.used + space.available <= space.total <= size
    assert inodes.unit == Unit.INODES and inodes.total > 0

    await rig.unpublish()
    assert not rig.target.exists()
    await rig.unstage()
    assert rig.record() is None and rig.dpu.attached == {}
    assert rig.staging.is_dir()

    await rig.stage(fs_type=fs_type)
    assert (rig.staging / "greeting").read_text() == "hello"
    await rig.unstage()


async def test_a_raw_disk_at_two_targets(rig):
    second = rig.root / "pods" / "second"
    await rig.stage(fs_type="block")
    await rig.publish(fs_type="block")
    await rig.publish(fs_type="block", target=second)
    assert stat.S_ISBLK(rig.target.stat().st_mode)
    with rig.target.open("r+b") as disk:
        disk.write(b"raw bytes")
        disk.flush()
        os.fsync(disk.fileno())
    assert second.open("rb").read(9) == b"raw bytes"
    (usage,) = await rig.stats()
    assert usage.total == rig.dpu.size_bytes and usage.unit == Unit.BYTES

    with pytest.raises(FailedPreconditionError, match=str(second)):
        await rig.unstage()
    await rig.unpublish()
    await rig.unpublish(target=second)
    assert not rig.target.exists() and not second.exists()
    await rig.unstage()
    assert rig.file().open("rb").read(9) == b"raw bytes"


async def test_everything_twice_changes_nothing(rig):
    for _ in range(2):
        await rig.stage()
    for _ in range(2):
        await rig.publish()
    assert len(mounts_under(rig.root)) == 2
    for _ in range(2):
        await rig.unpublish()
    for _ in range(2):
        await rig.unstage()


async def test_publish_and_unpublish_and_stats_need_no_dpu(rig):
    await rig.stage()
    called: list[str] = []
    rig.dpu.on_call = called.append
    await rig.publish()
    await rig.stats()
    await rig.unpublish()
    await rig.stage()  # nothing to do: no question to the DPU either
    assert called == []
    await rig.unstage()


@pytest.mark.parametrize(
    "other",
    [
        {"fs_type": "xfs"},
        {"fs_type": "block"},
        {"mode": Modes.SINGLE_NODE_READER_ONLY},
        {"flags": ["noatime"]},
        {"context": {"placement": "exclusive"}},
        {"context": {"dpucsi/content-source": "snapshot"}},
    ],
)
async def test_stage_with_other_arguments(rig, other):
    await rig.stage()
    with pytest.raises(AlreadyExistsError):
        await rig.stage(**other)
    await rig.unstage()


async def test_mount_flags_reach_the_mount(rig):
    await rig.stage(flags=["noatime", "nodev"])
    (mount,) = mounts_at(rig.staging, read_mounts())
    assert mount.options >= {"noatime", "nodev"}
    await rig.unstage()


async def test_unknown_mount_flag_leaves_nothing_mounted(rig):
    with pytest.raises(FailedPreconditionError, match="could not be mounted"):
        await rig.stage(flags=["nosuchflag"])
    assert mounts_under(rig.root) == []
    await rig.unstage()
    assert rig.dpu.attached == {}


async def test_readonly_publish_beside_a_writable_one(rig):
    second = rig.root / "pods" / "second"
    await rig.stage()
    await rig.publish(readonly=True)
    await rig.publish(readonly=True)
    await rig.publish(target=second)
    with pytest.raises(OSError, match="Read-only"):
        (rig.target / "x").write_text("x")
    (second / "x").write_text("x")
    with pytest.raises(AlreadyExistsError, match="read-only"):
        await rig.publish()
    with pytest.raises(AlreadyExistsError, match="writable"):
        await rig.publish(target=second, readonly=True)
    await rig.unpublish()
    await rig.unpublish(target=second)
    await rig.unstage()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
@pytest.mark.parametrize("mode", [Modes.SINGLE_NODE_READER_ONLY, Modes.MULTI_NODE_READER_ONLY])
async def test_reader_only_modes(rig, mode, fs_type):
    rig.dpu.size_bytes = 320 << 20
    with pytest.raises(FailedPreconditionError, match="blank"):
        await rig.stage(mode=mode, fs_type=fs_type)
    assert not any(rig.file().open("rb").read(1 << 20))
    await rig.unstage()

    await rig.stage(fs_type=fs_type)
    (rig.staging / "x").write_text("x")
    await rig.unstage()

    await rig.stage(mode=mode, fs_type=fs_type)
    await rig.publish(mode=mode, fs_type=fs_type)
    assert (rig.target / "x").read_text() == "x"
    with pytest.raises(OSError, match="Read-only"):
        (rig.target / "x").write_text("y")
    await rig.unpublish()
    await rig.unstage()


async def test_a_raw_disk_for_readers_cannot_be_written(rig):
    access = {"fs_type": "block", "mode": Modes.MULTI_NODE_READER_ONLY}
    await rig.stage(**access)
    await rig.publish(**access)
    with pytest.raises(PermissionError), rig.target.open("r+b") as disk:
        disk.write(b"x")
    await rig.unpublish()
    await rig.unstage()


async def test_one_target_only_for_a_single_writer(rig):
    mode = Modes.SINGLE_NODE_SINGLE_WRITER
    await rig.stage(mode=mode)
    await rig.publish(mode=mode)
    with pytest.raises(FailedPreconditionError, match="one target"):
        await rig.publish(mode=mode, target=rig.root / "pods" / "second")
    await rig.publish(mode=mode)
    await rig.unpublish()
    await rig.unstage()


async def test_the_second_call_at_a_time_is_sent_away(rig):
    first = asyncio.create_task(rig.stage())
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match=str(VOLUME.uuid)):
        await rig.unstage()
    await first
    await rig.unstage()


async def test_many_volumes_at_once(rig):
    volumes = [VolumeId("pool-a", uuid5(VOLUME.uuid, str(number))) for number in range(6)]
    for volume in volumes:
        (rig.root / "many" / str(volume.uuid)).mkdir(parents=True)
    paths = {volume: rig.root / "many" / str(volume.uuid) for volume in volumes}
    await asyncio.gather(*(rig.stage(volume=volume, path=path) for volume, path in paths.items()))
    for volume, path in paths.items():
        (path / "x").write_text(str(volume))
    await asyncio.gather(*(rig.unstage(volume=volume, path=path) for volume, path in paths.items()))
    await asyncio.gather(*(rig.stage(volume=volume, path=path) for volume, path in paths.items()))
    assert all((path / "x").read_text() == str(volume) for volume, path in paths.items())
    await asyncio.gather(*(rig.unstage(volume=volume, path=path) for volume, path in paths.items()))


async def test_kubelets_folder_is_a_bind_mount_of_a_shared_one(rig):
    """Every mount below shows twice then; its copy is not a second publish."""
    real, kubelet = rig.root / "real", rig.root / "kubelet"
    for folder in (real, kubelet):
        folder.mkdir()
    for command in (["--bind", real, real], ["--make-shared", real], ["--bind", real, kubelet]):
        subprocess.run(["mount", *map(str, command)], check=True)
    staging = kubelet / "staging"
    staging.mkdir()
    mode = Modes.SINGLE_NODE_SINGLE_WRITER
    await rig.stage(path=staging, mode=mode)
    assert {str(real / "staging"), str(staging)} <= set(mounts_under(rig.root))
    await rig.publish(mode=mode, target=kubelet / "target", staging=staging)
    with pytest.raises(FailedPreconditionError, match="one target"):
        await rig.publish(mode=mode, target=kubelet / "second", staging=staging)
    with pytest.raises(FailedPreconditionError, match="unpublish it there"):
        await rig.unstage(path=staging)
    await rig.unpublish(target=kubelet / "target")
    await rig.unstage(path=staging)
    assert sorted(mounts_under(rig.root)) == sorted([str(kubelet), str(real)])
    for folder in (kubelet, real):
        subprocess.run(["umount", str(folder)], check=True)


async def test_node_info_comes_from_the_dpu(rig):
    info = await rig.servicer.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), None)
    assert info.node_id == f"node-a/{rig.dpu.dpu_uuid}" and info.max_volumes_per_node == 32
    assert dict(info.accessible_topology.segments) == {"csi.dpucsi.io/role": "host"}


async def test_the_record_is_readable_json(rig):
    await rig.stage()
    assert rig.record().volume_id == VOLUME
    await rig.restart()
    assert rig.record().state.value == "staged" and rig.record().disk.uuid == VOLUME.uuid
    await rig.unstage()
