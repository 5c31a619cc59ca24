"""Waiting for a state, with a deadline: the one place where a look is repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dpucsi.aio.deadline import remaining
from dpucsi.errors import TimedOutError

SeenT = TypeVar("SeenT")


async def wait_until(
    look: Callable[[], Awaitable[SeenT | None]],
    what: str,
    *,
    timeout_s: float,
    first_s: float = 0.005,
    longest_s: float = 0.25,
) -> SeenT:
    """Looks until `look` returns something, less and less often; raises TimedOutError: `what` did not happen."""
    loop = asyncio.get_running_loop()
    allowed = remaining(timeout_s)
    end = loop.time() + allowed
    pause = first_s
    while True:
        seen = await look()
        if seen is not None:
            return seen
        if loop.time() >= end:
            raise TimedOutError(f"{what} did not happen within {allowed:.1f} s")
        await asyncio.sleep(min(pause, max(0.0, end - loop.time())))
        pause = min(pause * 1.5, longest_s)
