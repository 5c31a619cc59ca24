"""Emulators as processes of their own, reached by our own client."""

import asyncio
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
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()

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
