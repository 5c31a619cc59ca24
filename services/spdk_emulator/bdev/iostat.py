"""A bdev's I/O counted as SPDK counts it (bdev_get_iostat), and the place where faults get between."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from dpucsi.nvme_tcp.status import ABORT_REQUESTED, INTERNAL_ERROR, NvmeError
from spdk_emulator.bdev.io import BlockIo, Data
from spdk_emulator.rpc.params import Json

TICK_RATE = 2_450_000_000  # ticks a second, as a processor's time stamp counter

Operation: TypeAlias = Literal["read", "write", "flush", "unmap", "write_zeroes"]
# Called before an operation: returns when it may go on, or raises NvmeError.
Gate: TypeAlias = Callable[[Operation, int, int], Awaitable[None]]
ResultT = TypeVar("ResultT")
_BYTES = {"read": "bytes_read", "write": "bytes_written", "unmap": "bytes_unmapped", "copy": "bytes_copied"}


def ticks() -> int:
    """Now, on the clock of the latencies."""
    return time.monotonic_ns() * (TICK_RATE // 1_000_000) // 1000


@dataclass
class _Figure:
    """One kind of operation; latencies in ticks, the least one 0 while nothing was done."""

    done_bytes: int = 0
    done: int = 0
    latency: int = 0
    longest: int = 0
    shortest: int = 0

    def add(self, length: int, latency: int) -> None:
        self.done_bytes += length
        self.done += 1
        self.latency += latency
        self.longest = max(self.longest, latency)
        self.shortest = min(self.shortest or latency, latency)


@dataclass
class IoStat:
    """What a bdev did since its figures were reset. Only what succeeded has bytes and a latency.

    As in SPDK, a flush and a write of zeroes are counted nowhere unless they fail.
    """

    figures: dict[str, _Figure] = field(default_factory=lambda: {name: _Figure() for name in _BYTES})
    errors: Counter[str] = field(default_factory=Counter)

    def describe(self) -> dict[str, Json]:
        """As in bdev_get_iostat."""
        shown: dict[str, Json] = {}
        for name, figure in self.figures.items():
            shown |= {_BYTES[name]: figure.done_bytes, f"num_{name}_ops": figure.done}
        for name, figure in self.figures.items():
            shown |= {
                f"{name}_latency_ticks": figure.latency,
                f"max_{name}_latency_ticks": figure.longest,
                f"min_{name}_latency_ticks": figure.shortest,
            }
        return shown | {"io_error": dict(self.errors)}

    def reset(self, mode: str) -> None:
        """`all`, `maxmin`, `error` or `none` of it (spdk_bdev_reset_io_stat)."""
        if mode in ("all", "error"):
            self.errors.clear()
        if mode == "all":
            self.figures = {name: _Figure() for name in _BYTES}
        elif mode == "maxmin":
            for figure in self.figures.values():
                figure.longest = figure.shortest = 0


class CountedIo:
    """The I/O of one bdev. `error_name`: what SPDK calls a failure of this kind of bdev."""

    def __init__(self, inner: BlockIo, error_name: str) -> None:
        self._inner = inner
        self._error_name = error_name
        self._running = 0
        self._release: Callable[[], None] | None = None
        self._is_retired = False
        self.stat = IoStat()
        self.gate: Gate | None = None

    async def read(self, offset: int, length: int) -> bytes:
        """See BlockIo."""
        return await self._run("read", offset, length, lambda: self._inner.read(offset, length))

    async def write(self, offset: int, data: Data) -> None:
        """See BlockIo."""
        await self._run("write", offset, len(data), lambda: self._inner.write(offset, data))

    async def flush(self) -> None:
        """See BlockIo."""
        await self._run("flush", 0, 0, self._inner.flush)

    async def unmap(self, offset: int, length: int) -> None:
        """See BlockIo."""
        await self._run("unmap", offset, length, lambda: self._inner.unmap(offset, length))

    async def write_zeroes(self, offset: int, length: int) -> None:
        """See BlockIo."""
        await self._run("write_zeroes", offset, length, lambda: self._inner.write_zeroes(offset, length))

    def retire(self, release: Callable[[], None]) -> None:
        """The bdev is gone: later I/O fails; `release` is called when none runs any more."""
        if self._is_retired:
            return
        self._is_retired = True
        self._release = release
        self._release_if_idle()

    async def _run(
        self, operation: Operation, offset: int, length: int, start: Callable[[], Awaitable[ResultT]]
    ) -> ResultT:
        started = ticks()
        self._running += 1
        try:
            await self._pass(operation, offset, length)
            result = await start()
        except NvmeError as failed:
            self._count_failure(failed)
            raise
        finally:
            self._running -= 1
            self._release_if_idle()
        figure = self.stat.figures.get(operation)
        if figure is not None:
            figure.add(length, ticks() - started)
        return result

    async def _pass(self, operation: Operation, offset: int, length: int) -> None:
        if self.gate is not None:
            await self.gate(operation, offset, length)
        if self._is_retired:
            raise NvmeError(INTERNAL_ERROR, reason="the bdev is gone")

    def _count_failure(self, failed: NvmeError) -> None:
        is_aborted = failed.status == ABORT_REQUESTED
        self.stat.errors["aborted" if is_aborted else self._error_name] += 1

    def _release_if_idle(self) -> None:
        if not self._running and self._release is not None:
            release, self._release = self._release, None
            release()
