"""A cache of the API server's objects that is right again soon after whatever happened: list, watch, list again.

The package has an informer for threads only, and its asyncio `Watch` reconnects in silence and without a pause, goes
on after a 410 as if nothing had been lost, and holds whole model objects. What is needed is this page.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, Literal, TypeVar

import structlog

from dpucsi.errors import DpucsiError
from dpucsi.k8s.api import Json, KubeApi
from dpucsi.k8s.errors import ExpiredError

KeptT = TypeVar("KeptT")
BACKOFF_FIRST_S, BACKOFF_LONGEST_S = 0.2, 8.0

log = structlog.get_logger(__name__)


class Informer(Generic[KeptT]):
    """The objects behind `path` for which `parse` keeps something, by name.

    It is late by what the API server needs to tell, and by an outage: what must be true *now* is read from the API
    server itself.
    """

    def __init__(
        self, api: KubeApi, path: str, parse: Callable[[Json], KeptT | None], *, field_selector: str = ""
    ) -> None:
        self.items: dict[str, KeptT] = {}
        self.synced = asyncio.Event()  # the first list is here
        self._api = api
        self._path = path
        self._parse = parse
        self._query = {"fieldSelector": field_selector} if field_selector else {}
        self._version = ""  # up to which everything is known; "": list first
        self._changed = asyncio.Event()

    def changed(self) -> "Coroutine[Any, Any, Literal[True]]":
        """Ends at the first change of `items` (the first list is one) after this call, awaited now or later."""
        return self._changed.wait()

    async def run(self) -> None:
        """Keeps `items` up to date, for ever."""
        loop = asyncio.get_running_loop()
        failures, trouble, listed_at = 0, "", 0.0
        while True:
            try:
                if not self._version:
                    await self._list()
                    listed_at = loop.time()
                await self._watch()
                await asyncio.sleep(BACKOFF_FIRST_S)  # whatever ends each watch at once shall not be asked in a loop
            except DpucsiError as error:
                if self._version and loop.time() - listed_at > BACKOFF_LONGEST_S:
                    failures, trouble = 0, ""  # it was well for a while
                self._version = ""  # whatever was missed, the next list has it
                failures += 1
                if not isinstance(error, ExpiredError) and str(error) != trouble:
                    trouble = str(error)
                    log.warning("Kubernetes objects cannot be read; trying again", path=self._path, error=trouble)
                await asyncio.sleep(backoff(failures))

    async def _list(self) -> None:
        found: dict[str, KeptT] = {}
        version = ""
        async for page in self._api.pages(self._path, self._query):
            for one in page.get("items") or []:
                kept = self._parse(one)
                if kept is not None:
                    found[one["metadata"]["name"]] = kept
            version = page["metadata"]["resourceVersion"]
        self._version = version
        log.info("Kubernetes objects are listed", path=self._path, count=len(found))
        if found != self.items or not self.synced.is_set():
            self.items = found
            self.synced.set()
            self._announce()

    async def _watch(self) -> None:
        """Returns when the server ended the watch in order."""
        async for kind, changed in self._api.watch(self._path, self._query, self._version):
            self._version = changed["metadata"]["resourceVersion"]
            if kind == "BOOKMARK":
                continue
            name = changed["metadata"]["name"]
            kept = None if kind == "DELETED" else self._parse(changed)
            if kept == self.items.get(name):
                continue
            if kept is None:
                del self.items[name]
            else:
                self.items[name] = kept
            self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def backoff(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row, spread."""
    longest: float = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2 ** min(failures - 1, 10))
    return longest * (1 + jitter()) / 2


async def first_of(changes: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Returns when one of them has ended; the others are given up."""
    tasks = [asyncio.ensure_future(change) for change in changes]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
