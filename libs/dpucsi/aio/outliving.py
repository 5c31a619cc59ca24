"""Work that is worse when cut half-way than when it ends behind the back of the one who asked for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from dpucsi.aio.deadline import no_limit, remaining
from dpucsi.errors import DpucsiError, TimedOutError

ResultT = TypeVar("ResultT")
log = structlog.get_logger(__name__)
_alone: set["asyncio.Task[object]"] = set()  # the loop itself holds tasks only weakly


async def outlive(what: str, work: Callable[[], Awaitable[ResultT]], *, timeout_s: float) -> ResultT:
    """What `work` returns or raises.

    Its caller may leave: when it is cancelled, or after `timeout_s` or the operation's remaining time (TimedOutError).
    The work goes on then, without the operation's deadline.
    """

    async def unlimited() -> ResultT:
        no_limit()
        return await work()

    task = asyncio.ensure_future(unlimited())
    _alone.add(task)
    task.add_done_callback(_alone.discard)
    allowed = remaining(timeout_s)
    try:
        done, _ = await asyncio.wait([task], timeout=allowed)
    except asyncio.CancelledError:
        task.add_done_callback(report)
        raise
    if not done:
        task.add_done_callback(report)
        raise TimedOutError(f"{what} did not end within {allowed:.1f} s and goes on; try again")
    return task.result()


def report(task: "asyncio.Task[object]") -> None:
    """The only reader of a result whose caller has left."""
    if task.cancelled():
        return
    error = task.exception()
    if isinstance(error, DpucsiError):
        log.warning("work without a caller failed", error=str(error))
    elif error is not None:
        log.error("work without a caller broke", exc_info=error)
