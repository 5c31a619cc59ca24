from pathlib import Path

import pytest

from dpucsi.aio import limit
from dpucsi.errors import FailedPreconditionError, TimedOutError
from dpucsi.mount.command import run
from dpucsi.mount.mounts import canonical, mounted_elsewhere, mounts_at, parse_mountinfo, read_mounts
from dpucsi.mount.worker import with_deadline

TEXT = """\
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
40 36 259:3 / /var/lib/a\\040b/globalmount rw,relatime shared:5 - ext4 /dev/nvme0n1 rw
41 36 0:5 /nvme0n2//deleted /pods/x ro,nosuid - devtmpfs udev rw,size=1k
42 40 259:4 / /var/lib/a\\040b/globalmount rw - xfs /dev/nvme0n3 ro
"""


def test_parse():
    first, second, third, fourth = parse_mountinfo(TEXT)
    assert first.dev == (98, 0) and first.root == "/mnt1" and first.fs_type == "ext3"
    assert second.path == "/var/lib/a b/globalmount" and second.source == "/dev/nvme0n1"
    assert third.read_only and third.root == "/nvme0n2//deleted"
    assert not fourth.read_only and "ro" in fourth.super_options


def test_the_last_one_at_a_path_is_seen():
    at = mounts_at(Path("/var/lib/a b/globalmount"), parse_mountinfo(TEXT))
    assert [mount.dev for mount in at] == [(259, 3), (259, 4)]


def test_our_own_are_readable():
    assert any(mount.path == "/" for mount in read_mounts())


def test_other_namespaces_are_named_once_and_a_process_that_ended_is_passed_over(tmp_path):
    """Processes 8 and 9 share a namespace, 7 is in ours, 10 ends while it is looked at; names are any bytes."""
    for name, namespace in {"self": "a", "7": "a", "8": "b", "9": "b", "10": "c"}.items():
        (tmp_path / name / "ns").mkdir(parents=True)
        (tmp_path / namespace).touch()
        (tmp_path / name / "ns" / "mnt").symlink_to(tmp_path / namespace)
        if name != "10":
            (tmp_path / name / "mountinfo").write_text(TEXT)
            (tmp_path / name / "comm").write_bytes(b"agent\xff\n")
    assert mounted_elsewhere((259, 3), tmp_path) == ["agent\ufffd (8) at /var/lib/a b/globalmount"]
    assert mounted_elsewhere((259, 5), tmp_path) == []


def test_folders_above_are_resolved_the_last_part_is_not(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "mount").symlink_to("/nonexistent")
    assert canonical(tmp_path / "link" / "mount") == f"{tmp_path}/real/mount"


async def test_a_program_that_does_not_end_is_stopped():
    with limit(0.2), pytest.raises(TimedOutError, match="sleep"):
        await run(["sleep", "60"], timeout_s=30)


async def test_a_program_that_is_not_there():
    with pytest.raises(FailedPreconditionError, match="install"):
        await run(["no-such-program-here"], timeout_s=5)


async def test_exit_code_and_words():
    ended = await run(["sh", "-c", "echo out; echo bad  thing >&2; exit 3"], timeout_s=5)
    assert (ended.code, ended.out, ended.words) == (3, "out\n", "exit code 3: bad thing")


async def test_a_worker_hands_back_results_and_errors():
    assert await with_deadline("answer", lambda: 42, timeout_s=5) == 42
    with pytest.raises(ZeroDivisionError):
        await with_deadline("broken", lambda: 1 // 0, timeout_s=5)
