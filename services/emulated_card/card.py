"""The card: every folder below functions/ is a PCIe function of it."""

import asyncio
import contextlib
from pathlib import Path

import structlog

from dpucsi.errors import DpucsiError
from dpucsi.model import HostFunction
from emulated_card.controller import Connect
from emulated_card.function import Function
from emulated_card.leftovers import clear
from emulated_card.numbers import Numbers
from emulated_card.site import Site
from emulated_card.tree import HostTree
from emulated_card.watch import COMES_AND_GOES, IS_WRITTEN, Watch

log = structlog.get_logger(__name__)
FUNCTIONS, FILES = "functions", "disks"


class EmulatedCard:
    """In `folder`, from `start` to `close`."""

    def __init__(self, folder: Path, *, connect: Connect, recovery_s: float) -> None:
        self._functions_folder = folder / FUNCTIONS
        self._functions_folder.mkdir(parents=True, exist_ok=True)
        self._site = Site(
            tree=HostTree(folder),
            numbers=Numbers(folder / "numbers.json"),
            files=folder / FILES,
            watch=Watch(),
            connect=connect,
            recovery_s=recovery_s,
        )
        self._functions: dict[str, Function | None] = {}  # None: no name of a function
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Clears what an earlier card left, and looks at the functions, now and whenever something changes."""
        self._site.tree.clear()  # first: a loop device that is let go of must not be found here any more
        await clear(self._site.files)
        self._site.watch.on(self._functions_folder, COMES_AND_GOES, self._look)
        self._site.watch.on(self._site.tree.rescan, IS_WRITTEN, self._rescan)
        self._watching = asyncio.get_running_loop().create_task(self._site.watch.run())
        self._look()

    async def close(self) -> None:
        """Pulls the card: takes everything from the Host, also from under whoever uses it."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        closing = [function.close() for function in self._functions.values() if function is not None]
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error("something is left behind", error=str(outcome))

    def _look(self) -> None:
        for folder in self._functions_folder.iterdir():
            if folder.name not in self._functions:
                self._functions[folder.name] = self._function(folder)
            function = self._functions[folder.name]
            if function is not None:
                function.watch()

    def _function(self, folder: Path) -> Function | None:
        try:
            return Function(HostFunction.parse(folder.name), folder, self._site)
        except DpucsiError as wrong:
            log.warning("folder is no function of the card", folder=str(folder), error=str(wrong))
            return None

    def _rescan(self) -> None:
        log.info("bus looked at again by the Host")
        for function in self._functions.values():
            if function is not None:
                function.rescan()
