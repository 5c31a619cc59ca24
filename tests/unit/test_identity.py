import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from dpucsi.config import load
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError
from dpucsi.store import identity_option, resolve_identity
from volume_attacher.config import Config


def test_a_uuid_or_an_absolute_path_is_taken_and_nothing_else() -> None:
    uuid = uuid4()
    assert identity_option(str(uuid)) == uuid
    assert identity_option("/var/lib/x") == Path("/var/lib/x")
    for wrong in ("", "7", "relative/file", "./x"):
        with pytest.raises(InvalidArgumentError, match="neither a UUID nor the absolute path"):
            identity_option(wrong)
    assert resolve_identity(uuid) == uuid


def test_the_first_start_makes_it_and_every_later_one_finds_it(tmp_path: Path) -> None:
    file = tmp_path / "state" / "dpu-uuid"
    before = os.umask(0o077)
    try:
        made = resolve_identity(file)
    finally:
        os.umask(before)
    assert made.version == 4
    assert file.read_text() == f"{made}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert resolve_identity(file) == made
    assert [entry.name for entry in file.parent.iterdir()] == ["dpu-uuid"]  # nothing is left aside


def test_one_that_was_written_by_hand_is_taken(tmp_path: Path) -> None:
    uuid = uuid4()
    (tmp_path / "id").write_text(f"  {str(uuid).upper()}")
    assert resolve_identity(tmp_path / "id") == uuid


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff\xfe", b"7 " * 40, str(UUID(int=0)).encode()])
def test_garbage_is_an_error_and_stays(tmp_path: Path, garbage: bytes) -> None:
    file = tmp_path / "id"
    file.write_bytes(garbage)
    with pytest.raises(FailedPreconditionError, match=str(file)):
        resolve_identity(file)
    assert file.read_bytes() == garbage


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPreconditionError, match="cannot be read or made"):
        resolve_identity(tmp_path / "file" / "id")


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}" / "id" for number in range(50)]
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        seen = [list(pool.map(resolve_identity, [file] * 4)) for file in files]
    assert all(len(set(one)) == 1 for one in seen)
    assert len({one[0] for one in seen}) == len(files)


def test_the_attacher_takes_either(tmp_path: Path) -> None:
    argv = ["--listen=unix:///a", "--opi=unix:///o", "--state=/s", "--shared-functions=port0-pf0="]
    for given in ("/var/lib/dpucsi/dpu-uuid", str(uuid4())):
        config = load(Config, prog="p", description="d", argv=[*argv, f"--dpu-uuid={given}"], environ={})
        assert str(config.dpu_uuid) == given
