import os
import signal
from pathlib import Path

import pytest

from dpucsi.errors import UnavailableError
from dpucsi.testing.kube.process import LastingProcess, NestedProcess


@pytest.fixture
def root(tmp_path):
    for folder in ("log", "pid", "cwd"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_a_process_is_found_and_ended_by_whoever_comes_later(root):
    LastingProcess("it", root, ["sleep", "60"]).start()
    later = LastingProcess("it", root, ["sleep", "60"])
    pid = later.pid
    while Path(f"/proc/{pid}/cwd").readlink() != root / "cwd":  # env moves there first
        pass
    later.kill()
    assert not later.running
    with pytest.raises(UnavailableError, match="it is not running"):
        _ = later.pid


def test_a_pid_that_another_process_has_now_is_not_ours(root):
    (root / "pid" / "it").write_text(f"{os.getpid()} 1\n")
    assert not LastingProcess("it", root, ["sleep", "60"]).running


def test_one_that_does_not_end_in_order_is_killed(root):
    process = LastingProcess("it", root, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 60 & wait $!; done"])
    process.start()
    while "up" not in process.complain():
        pass
    process.stop(patience_s=0.1)
    assert not process.running


def test_signals_are_for_the_inner_process(root):
    process = NestedProcess("it", root, ["sh", "-c", "sleep 60; exit 7"])
    process.start()
    while True:
        try:
            inner = process.pid
            break
        except UnavailableError:
            continue
    assert inner != LastingProcess("it", root).pid
    os.kill(inner, signal.SIGTERM)
    assert process.wait(5)
