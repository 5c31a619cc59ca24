"""Paths that are not what kubelet says: files, other volumes, somebody else's mounts. Nothing of theirs is touched."""

import subprocess

import pytest
from tests.unit.csi_node_host.rig import OTHER, VOLUME

from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError


async def test_staging_path_is_a_file(rig):
    file = rig.root / "file"
    file.write_text("")
    with pytest.raises(InvalidArgumentError, match="not a folder"):
        await rig.stage(path=file)
    with pytest.raises(FailedPreconditionError, match="does not exist"):
        await rig.stage(path=rig.root / "nowhere")
    assert rig.record() is None and rig.dpu.attached == {}


async def test_staging_path_of_another_volume(rig):
    await rig.stage()
    with pytest.raises(FailedPreconditionError, match=str(VOLUME)):
        await rig.stage(volume=OTHER)
    await rig.unstage()


@pytest.mark.parametrize("fs_type", ["ext4", "block"])
async def test_something_else_is_mounted_in_the_way(rig, fs_type):
    for path in (rig.staging, rig.target):
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(path)], check=True)
    with pytest.raises(FailedPreconditionError, match="tmpfs"):
        await rig.stage(fs_type=fs_type)
    with pytest.raises(FailedPreconditionError, match="tmpfs"):
        await rig.unstage()
    subprocess.run(["umount", str(rig.staging)], check=True)
    await rig.stage(fs_type=fs_type)
    with pytest.raises(FailedPreconditionError, match="tmpfs"):
        await rig.publish(fs_type=fs_type)
    with pytest.raises(FailedPreconditionError, match="left alone"):
        await rig.unpublish()
    with pytest.raises(NotFoundError):
        await rig.stats()
    subprocess.run(["umount", str(rig.target)], check=True)
    await rig.unstage()


async def test_the_other_volume_is_never_unmounted(rig):
    other_staging = rig.root / "other"
    other_staging.mkdir()
    await rig.stage()
    await rig.stage(volume=OTHER, path=other_staging)
    await rig.publish()
    with pytest.raises(FailedPreconditionError, match="not volume"):
        await rig.unpublish(volume=OTHER)
    with pytest.raises(FailedPreconditionError, match="unstage it there"):
        await rig.unstage(volume=OTHER)
    with pytest.raises(NotFoundError):
        await rig.stats(volume=OTHER)
    await rig.unpublish()
    await rig.unstage()
    await rig.unstage(volume=OTHER, path=other_staging)


async def test_a_part_of_the_volume_at_the_target_is_not_the_volume(rig):
    await rig.stage()
    (rig.staging / "part").mkdir()
    rig.target.mkdir()
    subprocess.run(["mount", "--bind", str(rig.staging / "part"), str(rig.target)], check=True)
    with pytest.raises(FailedPreconditionError, match="mounted on it"):
        await rig.publish()
    await rig.unpublish()
    await rig.unstage()


async def test_a_target_that_holds_files_is_left_alone(rig):
    await rig.stage()
    rig.target.mkdir()
    (rig.target / "x").write_text("somebody's")
    with pytest.raises(FailedPreconditionError, match="holds files"):
        await rig.unpublish()
    assert (rig.target / "x").read_text() == "somebody's"
    await rig.unstage()


async def test_targets_of_the_wrong_kind(rig):
    await rig.stage()
    rig.target.write_text("")
    with pytest.raises(FailedPreconditionError, match="wanted a folder"):
        await rig.publish()
    with pytest.raises(FailedPreconditionError, match="No such file"):
        await rig.publish(target=rig.root / "no" / "parent")
    await rig.unstage()


async def test_publish_as_something_else_than_staged(rig):
    await rig.stage()
    for other in ({"fs_type": "block"}, {"fs_type": "xfs"}, {"flags": ["noatime"]}):
        with pytest.raises(FailedPreconditionError, match="staged as"):
            await rig.publish(**other)
    await rig.unstage()
    with pytest.raises(FailedPreconditionError, match="NodeStageVolume first"):
        await rig.publish()
