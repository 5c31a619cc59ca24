"""A Linux guest in QEMU, by software alone: any machine can run it, nothing of the machine can be harmed by it.

Its root is the machine's own "/" (9p, read-only) under a layer in memory: the same programs, the same checkout. It
reaches the machine's 127.0.0.1 as 10.0.2.2. It ends with the thread that started it.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.guest.initramfs import make_initramfs
from tests.e2e.guest.kernel import Kernel

from dpucsi.aio import wait_until
from dpucsi.testing.ports import free_port

MACHINE = "10.0.2.2"  # the machine's 127.0.0.1, as the guest's user-mode network sees it
COMMANDS = ("qemu-system-x86_64", "busybox", "modprobe", "cpio", "nvme", "fio", "mkfs.ext4", "mkfs.xfs")
_AGENT_PORT = 10022
_BOOT_S = 90.0  # it takes 6 to 13 s on two idle cores


def cache_folder() -> Path:
    """Where its kernel is kept, outside of the checkout."""
    home = os.environ.get("TOOLS_HOME")
    return (Path(home) if home else Path.home() / ".cache/dpucsi-tools") / "guest"


class CommandError(Exception):
    """A command of the guest ended with another status than 0."""


class Guest:
    """One guest; `folder` holds its files. It runs from `start` to `stop`."""

    def __init__(self, kernel: Kernel, folder: Path, *, modprobe: tuple[str, ...] = (), memory: str = "1G") -> None:
        self._kernel = kernel
        self._folder = folder
        self._modprobe = modprobe
        self._memory = memory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Boots it and returns when it answers."""
        settings = {
            "modules": str(self._kernel.modules),
            "modprobe": " ".join(self._modprobe),
            "python": sys.executable,
            "agent": str(Path(__file__).parent / "agent.py"),
            "port": str(_AGENT_PORT),
        }
        make_initramfs(self._kernel, settings, self._folder / "initramfs")
        with (self._folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await wait_until(self._answers, "the guest's answer", timeout_s=_BOOT_S)

    def stop(self) -> None:
        """Pulls its plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def sh(self, command: str, *, timeout_s: float = 60.0) -> str:
        """What a shell command of the guest prints; raises CommandError where it fails, with what it printed."""
        status, output = await self.run(command, timeout_s=timeout_s)
        if status:
            raise CommandError(f"{command!r} ended with {status}: {output}")
        return output

    async def run(self, command: str, *, timeout_s: float = 60.0) -> tuple[int, str]:
        """Exit status and output of a shell command; several may run at once. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(json.dumps(command).encode() + b"\n")
                output, end, status = (await reader.read()).rpartition(b"\0")
            finally:
                writer.close()
        if not end:
            raise ConnectionError(f"the guest did not answer {command!r}; {self.console()}")
        return int(status), output.decode(errors="replace")

    def console(self) -> str:
        """The end of what QEMU and the guest's kernel said."""
        said = [self._folder / name for name in ("qemu.log", "console.log")]
        lines = [line for path in said if path.exists() for line in path.read_text(errors="replace").splitlines()]
        return "\n".join(lines[-20:])

    async def _answers(self) -> bool | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the guest ended while it booted: {self.console()}")
        try:
            return True if await self.run("true", timeout_s=5) == (0, "") else None
        except OSError:  # includes TimeoutError
            return None

    def _command(self) -> list[str]:
        words = "quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on"
        return [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-accel", "tcg,thread=multi,tb-size=256", "-machine", "q35", "-cpu", "max,la57=off"),
            *("-smp", "1", "-m", self._memory),  # a second processor makes it slower where it is emulated
            *("-kernel", str(self._kernel.image), "-initrd", str(self._folder / "initramfs")),
            *("-append", f"console=ttyS0 {words}", "-serial", f"file:{self._folder / 'console.log'}"),
            *("-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"),
            *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self._port}-:{_AGENT_PORT}"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
        ]
