"""Work beside the serving: it goes on for ever, and a bug in it does not take the service down with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

AGAIN_S = 5.0

log = structlog.get_logger(__name__)


@asynccontextmanager
async def background(*works: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Runs `works` while the body does; one that breaks is logged, and started again a little later."""
    tasks = [asyncio.create_task(_keep_running(work)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except Exception as bug:
            log.error("background work broke; it starts again", exc_info=bug)
        await asyncio.sleep(AGAIN_S)
