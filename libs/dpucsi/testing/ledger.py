"""The proof that no acknowledged write was lost: a writer process, what it said, and what the disk says later."""

import asyncio
import mmap
import os
import sys
from pathlib import Path

from dpucsi.aio import wait_until
from dpucsi.errors import UnavailableError
from dpucsi.testing.writer import BLOCK, read_number

SLOTS = 256


class Ledger:
    """One file under write load. `acknowledged` counts; `errno` is that of the first error, None while all is well."""

    def __init__(self, path: Path, slots: int = SLOTS) -> None:
        self.path = path
        self.acknowledged = 0
        self.errno: int | None = None
        self._slots = slots
        self._numbers = [0] * slots
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to write."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dpucsi.testing.writer", str(self.path), "--slots", str(self._slots)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,
        )
        self._listening = asyncio.create_task(self._listen())

    async def progress(self, count: int, timeout_s: float) -> None:
        """Returns when `count` more writes are acknowledged; raises UnavailableError at an error."""
        wanted = self.acknowledged + count

        async def enough() -> bool | None:
            if self.errno is not None:
                raise UnavailableError(f"a write to {self.path} failed: {os.strerror(self.errno)}")
            return self.acknowledged >= wanted or None

        await wait_until(enough, f"{count} more acknowledged writes to {self.path}", timeout_s=timeout_s)

    async def failed(self, timeout_s: float) -> int:
        """Returns the errno of the writer's error, which must come."""

        async def error() -> int | None:
            return self.errno

        return await wait_until(error, f"an error for the writer of {self.path}", timeout_s=timeout_s)

    async def stop(self) -> None:
        """No write is under way any more when it returns."""
        if self._process is None or self._listening is None:
            return
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._listening

    def lost(self) -> list[str]:
        """What the disk lacks of what was acknowledged; read past the page cache. The writer must have been stopped."""
        found = _read_direct(self.path, self._slots * BLOCK)
        missing = []
        for slot, wanted in enumerate(self._numbers):
            number = read_number(slot, found[slot * BLOCK : (slot + 1) * BLOCK])
            if number is None:
                missing.append(f"slot {slot}: torn, wanted number {wanted} or later")
            elif number < wanted:
                missing.append(f"slot {slot}: number {number}, wanted {wanted} or later")
        return missing

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.endswith(b"\n"):  # cut off by the kill
                break
            kind, *numbers = line.split()
            if kind == b"E":
                self.errno = int(numbers[0])
            else:
                self._numbers[int(numbers[0])] = int(numbers[1])
                self.acknowledged += 1


def _read_direct(path: Path, length: int) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, length) as aligned:  # O_DIRECT wants page-aligned memory
            done = os.preadv(file, [aligned], 0)
            if done != length:
                raise UnavailableError(f"{path} has {done} bytes, wanted {length}")
            return aligned[:]
    finally:
        os.close(file)
