"""Processes of a lab that outlive whoever started it; the next one finds them by their pid files."""

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dpucsi.errors import UnavailableError
from dpucsi.testing.process import LabProcess

KILLED_S = 30.0  # a killed process may have to wait for I/O


class LastingProcess(LabProcess):
    """A LabProcess with a pid file `<root>/pid/<name>` and the log `<root>/log/<name>.log`.

    Where a process of an earlier run still lives, it is this one. Its working folder is the empty `<root>/cwd`.
    """

    def __init__(self, name: str, root: Path, argv: Sequence[str] = ()) -> None:
        super().__init__(name, ["env", "-C", str(root / "cwd"), *argv], root / "log" / f"{name}.log")
        self._pid_file = root / "pid" / name

    def start(self, argv: Sequence[str] = ()) -> None:
        """Starts it, from now on with the command line `argv` if one is given; it must not run already."""
        if argv:
            self.argv[3:] = argv
        super().start()
        assert self._process is not None
        self._pid_file.write_text(f"{self._process.pid} {_started(self._process.pid)}\n")

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._outer is not None

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        if self._outer is None:
            raise UnavailableError(f"{self.name} is not running; its last words are in {self.log}")
        return self._outer

    def kill(self, patience_s: float = KILLED_S) -> None:
        """`kill -9`, and waits for the end; UnavailableError where it has to wait for I/O for longer."""
        self._end(signal.SIGKILL, patience_s)

    def stop(self, patience_s: float = 30.0) -> int:
        """SIGTERM, and waits for an orderly end; kills what does not end in time. Returns 0: not every parent is us."""
        if not self._end(signal.SIGTERM, patience_s, may_be_late=True):
            self.kill()
        return 0

    def wait(self, patience_s: float) -> bool:
        """True when it has ended within `patience_s` seconds."""
        outer = self._outer
        if outer is None:
            return True
        try:
            descriptor = os.pidfd_open(outer)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            ended = bool(poll.poll(patience_s * 1000))
        finally:
            os.close(descriptor)
        if ended and self._process is not None:
            self._process.wait()
        return ended

    def _end(self, number: signal.Signals, patience_s: float, *, may_be_late: bool = False) -> bool:
        if self.running:
            with suppress(ProcessLookupError, UnavailableError):
                os.kill(self.pid, number)
        if self.wait(patience_s):
            self._pid_file.unlink(missing_ok=True)
            return True
        if may_be_late:
            return False
        raise UnavailableError(f"{self.name} (pid {self._outer}) did not end within {patience_s:g} s of {number.name}")

    @property
    def _outer(self) -> int | None:
        """The pid of what was started, by us or by an earlier run; None where it has ended."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        try:
            pid, started = (int(word) for word in self._pid_file.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if _started(pid) == started else None


class NestedProcess(LastingProcess):
    """One that a waiting parent (`unshare --fork`, `nsenter --pid`) has started in another PID namespace.

    `pid` and all signals are the inner one's, the end is that of both.
    """

    @property
    def pid(self) -> int:
        """The pid of the inner process, as this machine numbers it."""
        outer = super().pid
        with suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
            if children:
                return int(children[0])
        raise UnavailableError(f"{self.name} is not running; its last words are in {self.log}")


def children(pid: int) -> list[int]:
    """The pids of the children of all threads of a process; none where it has ended."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def command(argv: Sequence[str]) -> str:
    """What a short command prints; UnavailableError with its words where it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(argv)} failed ({done.returncode}): {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _started(pid: int) -> int:
    """When a process began, in clock ticks since boot: with the pid, it names one process for good. 0: it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    state, threads = after_name[0], int(after_name[17])
    # The first thread of a dying process may be a zombie while others still hold its files and ports.
    return 0 if state in "ZX" and threads <= 1 else int(after_name[19])
