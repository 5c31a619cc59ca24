"""From the command line to a running service: what every `__main__` does."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from dpucsi import observe
from dpucsi.config import load
from dpucsi.errors import DpucsiError

ConfigT = TypeVar("ConfigT")


def run_service(
    name: str, description: str, config: type[ConfigT], serve: Callable[[ConfigT], Awaitable[None]]
) -> None:
    """Reads `config` (which has log_format and log_level), runs `serve` to its end; exit code 1: it cannot start."""
    settings = load(config, prog=name, description=description)
    observe.configure(name, log_format=vars(settings)["log_format"], log_level=vars(settings)["log_level"])

    async def until_done() -> int:
        try:
            await serve(settings)
        except DpucsiError as error:
            structlog.get_logger(__name__).error("cannot run", error=str(error))
            return 1
        return 0

    sys.exit(asyncio.run(until_done()))
