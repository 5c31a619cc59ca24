"""Brings back what is wanted and is not there: at the start, in every new SPDK process, and now and then.

Nothing is removed here. One round of reads finds what is missing; then every missing object waits only for what it
stands on, so that all paths connect together and a namespace follows its own path, not the slowest one.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterable

import structlog

from dpucsi.errors import DpucsiError
from dpucsi.spdk import SpdkClient
from opi_bridge.objects import Entry, Objects
from opi_bridge.preparation import Preparation
from opi_bridge.realiser import Realiser
from opi_bridge.views import LiveView, ReplayView, Snapshot

RETRY_FIRST_S = 0.5
BACKOFF_STEPS = 16  # doublings; the interval is reached long before
log = structlog.get_logger(__name__)


class Reconciler:
    """`run` goes on for ever. `interval_s`: seconds between two looks when all is well. `grace_s`: seconds that an
    object waits for those it stands on; after that it comes without them, because one dead target must not keep a whole
    function from its Host.
    """

    def __init__(
        self,
        client: SpdkClient,
        objects: Objects,
        realiser: Realiser,
        preparation: Preparation,
        *,
        interval_s: float,
        grace_s: float,
    ) -> None:
        self._client = client
        self._objects = objects
        self._realiser = realiser
        self._preparation = preparation
        self._interval_s = interval_s
        self._grace_s = grace_s

    async def run(self) -> None:
        """Looks, repairs, waits: longer after each failure, not at all for a new SPDK process."""
        failures = 0
        while True:
            await self._client.new_instance()
            try:
                failures = failures + 1 if await self.once() else 0
            except DpucsiError as error:
                log.warning("SPDK could not be reconciled", error=str(error))
                failures += 1
            except Exception as bug:  # the loop that brings volumes back must not end by one
                log.error("bug", exc_info=bug)
                failures += 1
            backoff_s = RETRY_FIRST_S * 2 ** min(failures, BACKOFF_STEPS)
            pause = min(self._interval_s, backoff_s) if failures else self._interval_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * (0.75 + random.random() / 2)):  # noqa: S311 - spreads load only
                    await self._client.new_instance(other_than=self._preparation.instance)

    async def once(self) -> int:
        """One look and one repair; the number of objects that are still missing. Raises DpucsiError: SPDK is away."""
        instance = await self._client.new_instance()
        versions = {entry: entry.version for entry in self._objects if entry.kind.in_spdk}
        snapshot = await Snapshot.take(self._client)
        await self._preparation.prepare(instance, snapshot)
        missing = []
        for entry, version in versions.items():
            stands = await self._stands(entry, snapshot)
            # Somebody is at it, or was since the snapshot: what the snapshot says of it is out of date.
            if entry.lock.locked() or entry.deleting or entry.gone or entry.version != version:
                continue
            entry.realised = instance if stands else None
            if entry.realised is None:
                missing.append(entry)
        return await self._bring_back(missing, snapshot) if missing else 0

    async def _stands(self, entry: Entry, snapshot: Snapshot) -> bool:
        try:
            so = entry.kind.is_so(entry.resource, await entry.kind.read(entry.name, entry.resource, snapshot))
        except DpucsiError:
            return False  # something else is in its place; bringing it back says so, with the same words
        return so

    async def _bring_back(self, missing: list[Entry], snapshot: Snapshot) -> int:
        view = ReplayView(snapshot, LiveView(self._client))
        tasks: dict[str, asyncio.Task[bool]] = {}
        for entry in missing:
            tasks[entry.name] = asyncio.create_task(self._bring_one(entry, view, tasks))
        try:
            results = await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
        log.info("brought back", wanted=len(missing), failed=results.count(False))
        return results.count(False)

    async def _bring_one(self, entry: Entry, view: ReplayView, tasks: dict[str, "asyncio.Task[bool]"]) -> bool:
        await self._wait_for(entry.kind.first(entry.name, entry.resource, self._objects), tasks)
        try:
            await self._realiser.ensure(entry, view=view)
        except DpucsiError as error:
            if str(error) != entry.problem:  # once, not at every try
                log.warning("not brought back", name=entry.name, error=str(error))
            entry.problem = str(error)
            return False
        return True

    async def _wait_for(self, groups: Iterable[Iterable[str]], tasks: dict[str, "asyncio.Task[bool]"]) -> None:
        waiting = [
            _any([tasks[name] for name in names]) for names in map(list, groups) if all(n in tasks for n in names)
        ]
        if waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s):
                    await asyncio.gather(*waiting)


async def _any(tasks: list["asyncio.Task[bool]"]) -> None:
    """Returns when one has succeeded or all have failed."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if any(not task.cancelled() and task.result() for task in done):
            return
