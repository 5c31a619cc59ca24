"""A mkfs that is cut leaves nothing that passes for a file system: proven by a kill at every single write (ADR 9)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dpucsi.mount.format import COMMANDS
from dpucsi.mount.probe import Content, probe

SIZE = 320 << 20
WRITES = "pwrite64,write,pwritev,fsync"
MKFS_XFS, NO_LABEL = COMMANDS["xfs"]
(MKFS_EXT4,) = COMMANDS["ext4"]

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace, which kills at a system call")


@pytest.fixture
def disk(loop, tmp_path):
    file = tmp_path / "disk"
    with file.open("wb") as bytes_of_it:
        bytes_of_it.truncate(SIZE)
    return Path(loop(file))


def cut(program, disk, at):
    """Runs the program and kills it when it is about to make its write number `at`. False: it ended before that."""
    kill = ("-e", f"trace={WRITES}", "-e", f"inject={WRITES}:signal=KILL:when={at}")
    traced = ["strace", "-f", "-o", os.devnull, *kill, *program, str(disk)]
    ended = subprocess.run(traced, check=False, capture_output=True)
    assert ended.returncode in (0, -9, 137), ended.stderr
    return ended.returncode != 0


async def cut_everywhere(program, disk, prepare, step=1):
    """What is on the disk behind each cut."""
    found, at = [], 1
    prepare()
    while cut(program, disk, at):
        found.append(await probe(disk, SIZE))
        at += step
        prepare()
    return found


def wiped(disk):
    return lambda: subprocess.run(["wipefs", "-qa", str(disk)], check=True)


async def test_a_cut_mkfs_xfs_is_seen(disk):
    found = await cut_everywhere(MKFS_XFS, disk, wiped(disk))
    assert all(each.unfinished or each.content is Content.NOTHING for each in found)
    assert sum(each.unfinished for each in found) > 10, "it writes its superblock early"
    assert (await probe(disk, SIZE)).unfinished, "also behind its end, until the label is taken away"


async def test_a_cut_mkfs_ext4_leaves_a_blank_disk(disk):
    found = await cut_everywhere(MKFS_EXT4, disk, wiped(disk), step=7)
    assert len(found) > 10 and all(each.content is Content.NOTHING for each in found)


async def test_the_label_goes_at_once(disk):
    """A whole file system is behind every cut: with the label, or without."""

    def prepare():
        wiped(disk)()
        subprocess.run([*MKFS_XFS, str(disk)], check=True)

    found = await cut_everywhere(("xfs_db", "-x", "-c", "label --"), disk, prepare)
    assert {each.unfinished for each in found} == {True, False} and {each.signature for each in found} == {"xfs"}
    prepare()
    subprocess.run([*NO_LABEL, str(disk)], check=True, capture_output=True)
    last = await probe(disk, SIZE)
    assert (last.signature, last.label) == ("xfs", "")
    subprocess.run(["xfs_repair", "-n", str(disk)], check=True, capture_output=True)
