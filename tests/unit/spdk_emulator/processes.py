"""Emulators as processes of their own, reached by our own client."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from dpucsi.aio import wait_until
from dpucsi.spdk import SpdkClient

SeenT = TypeVar("SeenT")
PATHS = os.pathsep.join(path for path in sys.path if path)


async def until(look: Callable[[], Awaitable[SeenT | None]], what: str, timeout_s: float = 10.0) -> SeenT:
    return await wait_until(look, what, timeout_s=timeout_s, longest_s=0.02)


async def end(process: asyncio.subprocess.Process, number: int, timeout_s: float = 20.0) -> int:
    """Signals a child and returns its status: its own one also where it died before.

    Not `process.send_signal`: that looks whether the child lives by waitpid, and a status taken by it is never seen by
    the event loop, which then says 255.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
    return await asyncio.wait_for(process.wait(), timeout_s)


class Process:
    """One spdk_emulator; `spdk` is its client."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.socket = folder / f"{name}.sock"
        self._options = options
        self._log = folder / f"{name}.log"
        self.process: asyncio.subprocess.Process | None = None
        self.spdk = SpdkClient(f"unix://{self.socket}", name=name)

    async def start(self) -> None:
        argv = [sys.executable, "-m", "spdk_emulator", "--rpc", f"unix://{self.socket}", "--attach-ms", "0"]
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *argv, *self._options, stderr=log, env={**os.environ, "PYTHONPATH": PATHS}
            )

        async def serves() -> bool | None:
            return True if b'"serving"' in self._log.read_bytes() else None

        await until(serves, f"{self.socket} serving")

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        return await end(self.process, number)

    async def call(self, method: str, **params: Any) -> Any:
        return await self.spdk.call(method, params or None)


@asynccontextmanager
async def running(folder: Path, name: str, *options: str) -> AsyncIterator[Process]:
    process = Process(folder, name, *options)
    await process.start()
    try:
        async with process.spdk:
            yield process
    finally:
        await process.end()
