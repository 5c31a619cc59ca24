"""One operation per object at a time, and each one runs to its end.

grpc.aio cancels a handler when its client's deadline passes, so any await of a handler may be its last. An operation
therefore runs in a task of its own: the caller may go away, the work does not stop half-way. The caller's next try
finds the operation still running (BusyError, gRPC ABORTED) or finds its result by looking at the state.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from dpucsi.aio.deadline import limit
from dpucsi.aio.outliving import report
from dpucsi.errors import BusyError, TimedOutError

ResultT = TypeVar("ResultT")
log = structlog.get_logger(__name__)


class Operations:
    """Runs operations, keyed by the object that they change; `limit_s` bounds each of them."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._running: dict[str, asyncio.Task[object]] = {}

    async def run(self, key: str, what: str, operation: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """The operation's result or error. Raises BusyError at once where another one for `key` is running."""
        if key in self._running:
            raise BusyError(
                f"another operation for {key} is running, so {what} did not start; try again when it has ended"
            )
        task = asyncio.ensure_future(self._bounded(key, what, operation))
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                log.info("caller left, operation goes on", operation=what, key=key)
                task.add_done_callback(report)
            raise

    async def _bounded(self, key: str, what: str, operation: Callable[[], Awaitable[ResultT]]) -> ResultT:
        try:
            with limit(self._limit_s):
                async with asyncio.timeout(self._limit_s):
                    return await operation()
        except TimeoutError as late:
            raise TimedOutError(
                f"{what} for {key} did not end within {self._limit_s:g} s; the same call again resumes it"
            ) from late

    async def drain(self) -> None:
        """Returns when nothing runs any more."""
        while self._running:
            await asyncio.wait(self._running.values())
