"""One volume, all the way and back, with the real mkfs, mount and umount."""

import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dpucsi import errors
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.testing.lab import Lab
from dpucsi.testing.orchestrator import Claim, Orchestrator, block_capability, mount_capability
from dpucsi.testing.snapshot import comes_to, snapshot

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def play(story: list[tuple[str, Callable[[], Awaitable[object]]]]) -> None:
    for _, act in story:
        await act()


async def twice(story: list[tuple[str, Callable[[], Awaitable[object]]]]) -> None:
    for _, act in story:
        await act()
        await act()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_file_system_and_everything_back(lab: Lab, orchestrator: Orchestrator, fs_type: str) -> None:
    before = await snapshot(lab)
    claim = Claim(f"life-{fs_type}", size_bytes=400 << 20, capability=mount_capability(fs_type, ("noatime",)))
    await twice(orchestrator.forward(claim))
    target = orchestrator.target_path(claim)
    (target / "file").write_bytes(b"x" * 4096)
    shown = subprocess.run(
        ["findmnt", "-no", "FSTYPE,OPTIONS", "--mountpoint", str(target)], capture_output=True, text=True, check=True
    ).stdout
    assert fs_type in shown
    assert "noatime" in shown
    usage = {entry.unit: entry for entry in (await orchestrator.stats(claim)).usage}
    assert usage[csi_pb2.VolumeUsage.BYTES].total > 300 << 20
    assert usage[csi_pb2.VolumeUsage.BYTES].used > 0
    assert usage[csi_pb2.VolumeUsage.INODES].total > 0
    await twice(orchestrator.back(claim))
    await comes_to(lab, before)


async def test_data_is_still_there_after_unstage_and_stage(lab: Lab, orchestrator: Orchestrator) -> None:
    before = await snapshot(lab)
    claim = Claim("life-data", size_bytes=400 << 20)
    await play(orchestrator.forward(claim))
    (orchestrator.target_path(claim) / "kept").write_text("kept")
    first = claim.publish_context["hostnqn"]
    await play(orchestrator.back(claim)[:3])
    await play(orchestrator.forward(claim)[1:])
    assert claim.publish_context["hostnqn"] != first, "a generation was used twice"
    assert (orchestrator.target_path(claim) / "kept").read_text() == "kept"
    await play(orchestrator.back(claim))
    await comes_to(lab, before)


async def test_a_raw_block_device(lab: Lab, orchestrator: Orchestrator) -> None:
    before = await snapshot(lab)
    claim = Claim("life-block", size_bytes=64 << 20, capability=block_capability())
    await twice(orchestrator.forward(claim))
    target = orchestrator.target_path(claim)
    assert target.is_block_device()
    data = os.urandom(1 << 20)
    with target.open("r+b", buffering=0) as device:
        device.write(data)
        os.fsync(device.fileno())
        assert device.seek(0, os.SEEK_END) == 64 << 20
        device.seek(0)
        assert device.read(1 << 20) == data
    assert (await orchestrator.stats(claim)).usage[0].total == 64 << 20
    await twice(orchestrator.back(claim))
    await comes_to(lab, before)


async def test_a_function_of_its_own(lab: Lab, orchestrator: Orchestrator) -> None:
    before = await snapshot(lab)
    claim = Claim(
        "life-exclusive", size_bytes=64 << 20, parameters={"placement": "exclusive"}, capability=block_capability()
    )
    await twice(orchestrator.forward(claim))
    (attached,) = {line.split()[0] for line in (await snapshot(lab))["attachments"]} - {
        line.split()[0] for line in before["attachments"]
    }
    assert claim.volume_id.endswith(attached)
    addresses = {(path / "address").read_text().strip() for path in (lab.sysfs / "class" / "nvme").iterdir()}
    assert "0000:3b:00.1" in addresses
    await twice(orchestrator.back(claim))
    await comes_to(lab, before)


async def test_a_read_only_publish_takes_no_write(lab: Lab, orchestrator: Orchestrator) -> None:
    before = await snapshot(lab)
    claim = Claim("life-readonly", size_bytes=400 << 20)
    await play(orchestrator.forward(claim)[:3])
    await orchestrator.node_publish(claim, readonly=True)
    with pytest.raises(OSError, match="Read-only"):
        (orchestrator.target_path(claim) / "file").write_text("no")
    await play(orchestrator.back(claim))
    await comes_to(lab, before)


async def test_a_disk_with_somebodys_data_is_never_formatted(lab: Lab, orchestrator: Orchestrator) -> None:
    """The bytes are written behind the driver's back, as a storage admin with the wrong lvol would."""
    before = await snapshot(lab)
    earlier = set((lab.root / "storage" / "disk0.img.lvs").iterdir())
    claim = Claim("life-foreign", size_bytes=400 << 20)
    await play(orchestrator.forward(claim)[:2])
    lvols = set((lab.root / "storage" / "disk0.img.lvs").iterdir()) - earlier
    (lvol,) = (path for path in lvols if path.suffix != ".json")
    subprocess.run(["mkfs.xfs", "-q", str(lvol)], check=True)
    with pytest.raises(errors.FailedPreconditionError, match="xfs"):
        await orchestrator.stage(claim)
    subprocess.run(["xfs_repair", "-nf", str(lvol)], check=True, capture_output=True)
    await play(orchestrator.back(claim)[1:])
    await comes_to(lab, before)


async def test_a_tampered_publish_context_changes_nothing(lab: Lab, orchestrator: Orchestrator) -> None:
    before = await snapshot(lab)
    claim = Claim("life-tampered", size_bytes=64 << 20)
    await play(orchestrator.forward(claim)[:2])
    published = await snapshot(lab)
    good = dict(claim.publish_context)
    for key, value in {
        "uuid": "11111111-2222-4333-8444-555555555555",
        "subnqn": "nqn.2024-01.io.dpucsi:vol:11111111-2222-4333-8444-555555555555",
        "hostnqn": "nqn.2024-01.io.dpucsi:dpu:11111111-2222-4333-8444-555555555555:00c0ffee",
        "paths": "[]",
        "transport": "pigeon",
    }.items():
        claim.publish_context = good | {key: value}
        with pytest.raises(errors.InvalidArgumentError):
            await orchestrator.stage(claim)
    claim.publish_context = good
    await comes_to(lab, published)
    await play(orchestrator.back(claim)[2:])
    await comes_to(lab, before)


async def test_a_volume_in_use_is_not_deleted(lab: Lab, orchestrator: Orchestrator) -> None:
    claim = Claim("life-in-use", size_bytes=64 << 20)
    await play(orchestrator.forward(claim)[:2])
    with pytest.raises(errors.FailedPreconditionError, match="publish"):
        await orchestrator.delete(claim)
    await play(orchestrator.back(claim)[2:])


async def test_unstage_works_when_the_host_lost_its_records(lab: Lab, orchestrator: Orchestrator) -> None:
    before = await snapshot(lab)
    claim = Claim("life-lost-state", size_bytes=400 << 20)
    await play(orchestrator.forward(claim))
    lab.processes["csi-node-host"].kill()
    for file in (lab.root / "state").glob("csi-node-host.db*"):
        Path(file).unlink()
    await lab.start("csi-node-host")
    await twice(orchestrator.back(claim))
    await comes_to(lab, before)
