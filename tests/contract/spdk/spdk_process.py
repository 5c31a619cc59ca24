"""One process under test, emulated or real: started, killed and started again at the same socket."""

import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dpucsi.testing.spdk_command import real_spdk, spdk_command

KINDS = ("emulator", "real")


@dataclass
class SpdkProcess:
    """`folder` holds its socket, its log and its backing files, which outlive it."""

    kind: str
    folder: Path
    core: int = 0
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.folder / "spdk.sock"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def command(self) -> list[str]:
        real = real_spdk() if self.kind == "real" else None
        return [*spdk_command(self.socket, spdk_tgt=real, core=self.core), *self.options]

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self) -> None:
        """kill -9: nothing is said goodbye to."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        try:
            self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self.kill()

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(timeout=10)
        self.process = None

    def image(self, name: str, mib: int) -> Path:
        """A sparse backing file."""
        path = self.folder / name
        with path.open("wb") as file:
            file.truncate(mib << 20)
        return path
