"""A stream of writes that knows what it wrote: what was answered must be there, what was not may be."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

from tests.contract.nvme_tcp.storage_node import BLOCK_SIZE

from dpucsi.aio import wait_until

DEPTH = 8


class Load:
    """Writes random blocks below `size`, `DEPTH` at a time, until it is told to end or a write fails.

    `answered` counts the writes that succeeded.
    """

    def __init__(self, write: Callable[[int, bytes], Awaitable[None]], size: int, seed: int = 1) -> None:
        self._write = write
        self._random = random.Random(seed)
        self._blocks = size // BLOCK_SIZE
        self._possible: dict[int, list[bytes]] = {}  # what each offset may hold: the last answered, and later ones
        self._busy: set[int] = set()
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []
        self.answered = 0
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begins."""
        self._tasks = [asyncio.get_running_loop().create_task(self._go()) for _ in range(DEPTH)]

    async def more(self, count: int = 20, timeout_s: float = 20.0) -> None:
        """Waits for further answers; raises TimedOutError, or what a write failed with."""
        wanted = self.answered + count

        async def enough() -> bool | None:
            if self.failure is not None:
                raise self.failure
            return True if self.answered >= wanted else None

        await wait_until(enough, f"{count} more writes", timeout_s=timeout_s)

    async def end(self, timeout_s: float = 20.0) -> None:
        """Waits for the writes in flight."""
        self._is_ending = True
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*self._tasks)

    async def check(self, read: Callable[[int, int], Awaitable[bytes]]) -> None:
        """Every block holds what was answered last, or something sent after it."""
        assert self._possible, "nothing was written"
        for offset, possible in self._possible.items():
            assert await read(offset, BLOCK_SIZE) in possible, f"lost or wrong bytes at {offset}"

    async def _go(self) -> None:
        while not self._is_ending and self.failure is None:
            offset = self._random.randrange(self._blocks) * BLOCK_SIZE
            if offset in self._busy:  # two writes of one block in flight: their order is nobody's promise
                await asyncio.sleep(0)
                continue
            data = os.urandom(BLOCK_SIZE)
            self._busy.add(offset)
            self._possible.setdefault(offset, [bytes(BLOCK_SIZE)]).append(data)
            try:
                await self._write(offset, data)
            except Exception as failure:
                self.failure = failure
            else:
                self._possible[offset] = [data]
                self.answered += 1
            finally:
                self._busy.discard(offset)
