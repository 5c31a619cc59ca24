"""The I/O of a remote bdev: which path it takes, when it is tried again, when it waits, when it fails.

SPDK's rules (bdev_nvme_io_complete_nvme_status, bdev_nvme_check_retry_io, bdev_nvme_find_io_path). Where SPDK looks for
a path every second, what waits here is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from dpucsi.nvme_tcp.host import ConnectionLostError, HostController
from dpucsi.nvme_tcp.status import (
    ABORT_REQUESTED,
    ABORTED_SQ_DELETION,
    ANA_INACCESSIBLE,
    ANA_PERSISTENT_LOSS,
    ANA_TRANSITION,
    INTERNAL_ERROR,
    NvmeError,
)
from spdk_emulator.bdev.io import Data
from spdk_emulator.initiator.path import ENABLED, NvmePath

ResultT = TypeVar("ResultT")
ANA_REFUSALS = (ANA_INACCESSIBLE, ANA_PERSISTENT_LOSS, ANA_TRANSITION)
EAGER_TRIES = 3
FAILING_S = 0.1  # between two tries where all paths live and fail, or after eager ones; SPDK tries at once, and again


class RemoteIo:
    """See BlockIo. `paths`: those that show this namespace, in the order in which they were attached."""

    def __init__(self, nsid: int, paths: Callable[[], Sequence[NvmePath]], retry_count: int) -> None:
        self._nsid = nsid
        self._paths = paths
        self._retry_count = retry_count
        self._news = asyncio.Event()
        self._is_over = False

    async def read(self, offset: int, length: int) -> bytes:
        """See BlockIo."""
        return await self._run(lambda controller: controller.read(self._nsid, offset, length))

    async def write(self, offset: int, data: Data) -> None:
        """See BlockIo."""
        await self._run(lambda controller: controller.write(self._nsid, offset, data))

    async def flush(self) -> None:
        """Reaches the storage node even without SPDK's `enable_flush`: what the Host flushes shall survive a crash."""
        await self._run(lambda controller: controller.flush(self._nsid))

    async def unmap(self, offset: int, length: int) -> None:
        """See BlockIo."""
        await self._run(lambda controller: controller.unmap(self._nsid, offset, length))

    async def write_zeroes(self, offset: int, length: int) -> None:
        """See BlockIo."""
        await self._run(lambda controller: controller.write_zeroes(self._nsid, offset, length))

    def tell(self) -> None:
        """A path has changed: what waits looks again."""
        self._news.set()
        self._news = asyncio.Event()

    def end(self) -> None:
        """The bdev is gone: what waits fails."""
        self._is_over = True
        self.tell()

    async def _run(self, operation: Callable[[HostController], Awaitable[ResultT]]) -> ResultT:
        tries = 0
        avoided: set[NvmePath] = set()  # alive, and have failed us since we last took breath
        while True:
            usable = [path for path in self._paths() if path.takes(self._nsid)]
            if not usable:
                await self._wait(tries)
                continue
            path = self._best(usable, avoided)
            if path is None:
                await asyncio.sleep(FAILING_S)
                avoided.clear()
                continue
            try:
                return await operation(path.live())
            except ConnectionLostError as lost:
                failure = NvmeError(ABORTED_SQ_DELETION, reason=str(lost))
            except NvmeError as failed:
                failure = failed
            is_of_path = self._is_of_path(path, failure)
            if not self._is_retried(path, failure, tries, is_of_path=is_of_path):
                raise failure
            if is_of_path and path.state == ENABLED:
                avoided.add(path)
            elif not is_of_path:
                tries += 1
                await asyncio.sleep(FAILING_S if tries > EAGER_TRIES else 0)

    def _best(self, usable: list[NvmePath], avoided: set[NvmePath]) -> NvmePath | None:
        """The first optimized path, else the first one: what SPDK's active_passive with its failback comes to."""
        fresh = [path for path in usable if path not in avoided]
        return next((path for path in fresh if path.is_optimized(self._nsid)), fresh[0] if fresh else None)

    def _is_retried(self, path: NvmePath, failure: NvmeError, tries: int, *, is_of_path: bool) -> bool:
        if self._is_over or failure.dnr or failure.status == ABORT_REQUESTED or not self._has_tries(tries):
            return False
        if not is_of_path:
            return True
        if failure.status in ANA_REFUSALS:
            path.refresh_ana()
        return self._is_worth_waiting()

    def _is_of_path(self, path: NvmePath, failure: NvmeError) -> bool:
        """Whether it failed for a reason that the namespace has nothing to do with: that does not count as a try."""
        is_path = failure.status.is_path or failure.status == ABORTED_SQ_DELETION
        return is_path or not path.takes(self._nsid)

    async def _wait(self, tries: int) -> None:
        """For a path; raises NvmeError with the status that SPDK has for "none, and none to come"."""
        if self._is_over:
            raise NvmeError(ABORT_REQUESTED, reason="the bdev is gone")
        if not self._has_tries(tries) or not self._is_worth_waiting():
            raise NvmeError(INTERNAL_ERROR, reason="no path")
        await self._news.wait()

    def _has_tries(self, tries: int) -> bool:
        return self._retry_count == -1 or tries < self._retry_count

    def _is_worth_waiting(self) -> bool:
        return any(path.is_worth_waiting(self._nsid) for path in self._paths())
