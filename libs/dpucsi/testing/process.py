"""One process of a lab: started, killed, restarted by name; what it says goes to a file."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dpucsi.errors import UnavailableError


class LabProcess:
    """A program that can be started more than once; each start appends to the same log file."""

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; it must not run already."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        with self.log.open("ab") as out:
            # A group of its own: Ctrl-C is for whoever runs the lab, who then ends its parts in order.
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0
            )

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        if self._process is None or not self.running:
            raise UnavailableError(f"{self.name} is not running; its last words are in {self.log}")
        return self._process.pid

    def kill(self) -> None:
        """`kill -9`, and waits for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stops it in the middle of whatever it does (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def stop(self, patience_s: float = 30.0) -> int:
        """SIGTERM, and waits for an orderly end; returns the exit code. Kills what does not end in time."""
        if self._process is None:
            return 0
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def complain(self) -> str:
        """The end of the log, for a message about why something did not come up."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-15:])
