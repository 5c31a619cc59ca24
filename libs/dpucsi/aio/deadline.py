"""The deadline of the operation at hand, seen by every call that it makes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Everything inside ends within `seconds`, or earlier where an outer limit says so."""
    asked = asyncio.get_running_loop().time() + seconds
    outer = _deadline.get()
    token = _deadline.set(asked if outer is None else min(asked, outer))
    try:
        yield
    finally:
        _deadline.reset(token)


def no_limit() -> None:
    """The task at hand has no deadline from here on: for work that outlives the operation which began it."""
    _deadline.set(None)


def remaining(default: float) -> float:
    """Seconds left, at most `default`; never negative."""
    deadline = _deadline.get()
    if deadline is None:
        return default
    return max(0.0, min(default, deadline - asyncio.get_running_loop().time()))
