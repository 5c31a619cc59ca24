"""Other drivers format data: unreadable disks, foreign content, clones, a mkfs that was cut half-way."""

import asyncio
import os
import subprocess
from dataclasses import replace

import pytest
from tests.unit.csi_node_host.rig import VOLUME, again, digest

from csi_node_host import stage
from csi_node_host.record import State
from csi_node_host.requests import parse_stage
from dpucsi.aio import wait_until
from dpucsi.errors import FailedPreconditionError, UnavailableError
from dpucsi.mount.format import COMMANDS
from dpucsi.mount.probe import UNFINISHED, probe


async def test_an_unreadable_disk_is_never_formatted(rig):
    await rig.stage(fs_type="block")
    await rig.unstage()
    file = rig.file()
    real_plug = rig.dpu._plug

    async def plug_then_lose_the_bytes(*arguments):
        plugged = await real_plug(*arguments)
        os.truncate(file, 4096)
        return plugged

    rig.dpu._plug = plug_then_lose_the_bytes
    with pytest.raises(UnavailableError, match="cannot be read"):
        await rig.stage()
    assert rig.record().state is State.ATTACHING
    assert not any(file.read_bytes())
    await rig.unstage()


def partitioned(file):
    with file.open("r+b") as disk:
        disk.seek(446)
        disk.write(bytes([0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]) + bytes(48) + b"\x55\xaa")


def with_program(*command):
    def fill(file):
        subprocess.run([*command, str(file)], check=True, capture_output=True)

    return fill


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (partitioned, "dos partition table"),
        (with_program("mkswap"), "swap"),
        (with_program("mkfs.ext2", "-q"), "carries ext2"),
    ],
)
async def test_foreign_content_is_never_formatted(rig, fill, words):
    fill(rig.file())
    before = digest(rig.file())
    with pytest.raises(FailedPreconditionError, match=words):
        await rig.stage()
    assert digest(rig.file()) == before
    await rig.unstage()


@pytest.mark.parametrize("source", ["snapshot", "volume"])
async def test_a_blank_clone_is_never_formatted(rig, source):
    with pytest.raises(FailedPreconditionError, match="made from another one"):
        await rig.stage(context={"dpucsi/content-source": source})
    assert not any(rig.file().read_bytes())
    await rig.unstage()


async def set_state(rig, state):
    await rig.site.volumes.put(replace(rig.record(), state=state))
    await rig.restart()


async def test_cut_after_the_record_formatting_a_blank_disk_is_formatted(rig):
    await rig.stage(fs_type="block")
    record = replace(rig.record(), access=replace(rig.record().access, fs_type="ext4"), state=State.FORMATTING)
    await rig.site.volumes.put(record)
    await rig.restart()
    await rig.stage()
    await rig.unstage()


async def test_cut_after_the_record_formatting_content_is_kept(rig):
    await rig.stage()
    (rig.staging / "x").write_text("kept")
    subprocess.run(["umount", str(rig.staging)], check=True)
    await set_state(rig, State.FORMATTING)
    await rig.stage()
    assert (rig.staging / "x").read_text() == "kept"
    await rig.unstage()


@pytest.mark.parametrize("state", [State.FORMATTED, State.STAGED])
async def test_blank_where_there_was_a_file_system_is_never_formatted(rig, state):
    await rig.stage()
    subprocess.run(["umount", str(rig.staging)], check=True)
    plugged = rig.dpu.attached[str(VOLUME)]
    subprocess.run(["wipefs", "-qa", plugged.loop], check=True)
    await set_state(rig, state)
    with pytest.raises(FailedPreconditionError, match="carried ext4 before"):
        await rig.stage()
    await rig.unstage()


@pytest.fixture
def cut_xfs(rig):
    """The disk as a mkfs.xfs leaves it that was cut behind its last write: all there, with the label."""
    rig.dpu.size_bytes = 320 << 20
    subprocess.run(["mkfs.xfs", "-q", "-L", UNFINISHED, str(rig.file())], check=True)
    return rig.file()


def half(file):
    """A cut behind the superblock: what blkid calls xfs, and nothing can mount."""
    with file.open("r+b") as disk:
        disk.seek(4096)
        disk.write(bytes(4 << 20))


@pytest.mark.parametrize("cut", [half, lambda file: None], ids=["half", "whole, but for the label"])
@pytest.mark.parametrize("fs_type", ["xfs", "ext4"])
async def test_a_file_system_whose_mkfs_was_cut_is_made_anew(rig, cut_xfs, cut, fs_type):
    """On any Host: the label says that nobody ever mounted it, whoever began it (ADR 9)."""
    cut(cut_xfs)
    await rig.stage(fs_type=fs_type)
    (rig.staging / "x").write_text("kept")
    await rig.unstage()
    assert (await probe(cut_xfs, rig.dpu.size_bytes)).label == ""
    await rig.stage(fs_type=fs_type)
    assert (rig.staging / "x").read_text() == "kept"
    await rig.unstage()


async def test_a_cut_mkfs_where_there_was_a_file_system_is_left_alone(rig, cut_xfs):
    await rig.stage(fs_type="block")
    record = replace(rig.record(), access=replace(rig.record().access, fs_type="xfs"), state=State.FORMATTED)
    await rig.site.volumes.put(record)
    before = digest(cut_xfs)
    with pytest.raises(FailedPreconditionError, match="carried xfs before"):
        await rig.stage(fs_type="xfs")
    assert digest(cut_xfs) == before
    await rig.unstage()


async def test_what_cannot_be_erased_is_not_formatted(rig, cut_xfs, monkeypatch):
    async def erase_nothing(node):
        return None

    monkeypatch.setattr(stage, "erase_unfinished", erase_nothing)
    before = digest(cut_xfs)
    with pytest.raises(UnavailableError, match="was erased, and still carries the same"):
        await rig.stage(fs_type="ext4")
    assert digest(cut_xfs) == before
    await rig.unstage()


async def test_a_slow_mkfs_ends_behind_its_caller(rig, tmp_path, monkeypatch):
    """And is not begun anew by the retries, which would never come to an end."""
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    os.mkfifo(gate)
    rig.dpu.size_bytes = 320 << 20
    wait = ("sh", "-c", f"echo once >> {begun}; read line < {gate}")
    monkeypatch.setitem(COMMANDS, "xfs", (wait, *COMMANDS["xfs"]))

    async def is_begun():
        return begun.exists() or None

    caller = asyncio.create_task(stage.stage(rig.site, parse_stage(rig.stage_request(fs_type="xfs"))))
    await wait_until(is_begun, "mkfs having begun", timeout_s=20)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(UnavailableError, match="mkfs of a former try"):
        await rig.stage(fs_type="xfs")
    gate.write_text("go\n")
    await again(lambda: rig.stage(fs_type="xfs"))
    assert begun.read_text() == "once\n"
    await rig.unstage()
