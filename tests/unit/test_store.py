import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dpucsi.errors import FailedPreconditionError
from dpucsi.store import Records


async def test_records_are_there_after_a_reopen(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "state" / "x.db")
    await records.put("volume", "b", b"2")
    await records.put("volume", "a", b"1")
    await records.put("other", "a", b"3")
    await records.remove("volume", "absent")
    await records.close()
    again = Records.open(tmp_path / "state" / "x.db")
    assert again.load("volume") == {"a": b"1", "b": b"2"}
    await again.remove("volume", "a")
    assert again.load("volume") == {"b": b"2"}
    await again.close()


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "state" / "x.db")
    await records.put("volume", "a", b"1")
    assert (tmp_path / "state" / "x.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    await records.close()


async def test_a_change_of_several_records_is_one(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "x.db")
    await records.apply([("volume", "a", b"1"), ("volume", "b", b"2")])
    await records.apply([("volume", "a", None), ("volume", "b", b"3")])
    assert records.load("volume") == {"b": b"3"}
    await records.close()


async def test_a_cancelled_writer_does_not_lose_the_record(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "x.db")
    writer = asyncio.create_task(records.put("volume", "a", b"1"))
    await asyncio.sleep(0)
    writer.cancel()
    await records.put("volume", "b", b"2")
    assert records.load("volume") == {"a": b"1", "b": b"2"}
    await records.close()


async def test_writes_that_arrive_together_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records.open(tmp_path / "x.db")
    commits = 0
    inner = records._commit

    def counted(changes: list[tuple[str, str, bytes | None]]) -> None:
        nonlocal commits
        commits += 1
        inner(changes)

    monkeypatch.setattr(records, "_commit", counted)
    await asyncio.gather(*(records.put("volume", str(n), b"x") for n in range(50)))
    assert commits <= 2
    assert len(records.load("volume")) == 50
    await records.close()


async def test_two_processes_never_share_one_file(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "x.db")
    await records.put("volume", "a", b"1")
    other = "import sys, pathlib; from dpucsi.store import Records; Records.open(pathlib.Path(sys.argv[1]))"
    second = subprocess.run([sys.executable, "-c", other, str(tmp_path / "x.db")], capture_output=True, check=False)
    assert second.returncode != 0
    assert b"another process" in second.stderr
    await records.close()


def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    with pytest.raises(FailedPreconditionError, match="state file"):
        Records.open(tmp_path / "x.db")
    assert (tmp_path / "x.db").read_bytes() == b"not a database" * 100


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(FailedPreconditionError, match="version 99"):
        Records.open(tmp_path / "x.db")


def test_a_record_survives_a_kill_right_after_its_put(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, pathlib, signal, sys; from dpucsi.store import Records\n"
        "async def main():\n"
        "    records = Records.open(pathlib.Path(sys.argv[1]))\n"
        "    await records.put('volume', 'a', b'1')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.db")], check=False)
    assert Records.open(tmp_path / "x.db").load("volume") == {"a": b"1"}
