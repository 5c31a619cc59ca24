"""The verbs of a resource, the same for every kind: create, get, list (`page`), update, delete.

Desired objects are durable before the first side effect and erased last. A create that failed erases the record that it
made itself, unless the outcome in SPDK is unknown: then the record stays, the repetition resumes and a delete removes.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from dpucsi.aio import Operations, limit
from dpucsi.errors import (
    AlreadyExistsError,
    DpucsiError,
    FailedPreconditionError,
    TimedOutError,
    UnavailableError,
    UnimplementedError,
)
from dpucsi.spdk import SpdkClient
from opi_bridge import fields, masks
from opi_bridge.kind import Kind, ResourceT, View
from opi_bridge.names import id_of, parent_of
from opi_bridge.objects import Entry, Objects
from opi_bridge.pages import page_of
from opi_bridge.realiser import Realiser
from opi_bridge.views import LiveView, Snapshot

LOOK_S = 1.0  # seconds that Get and List wait for an SPDK that is away, before they show what they know without it


class Engine:
    """Serves the requests of any kind. Requests are the generated messages, read by the names that a pattern gives."""

    def __init__(self, client: SpdkClient, objects: Objects, realiser: Realiser, operations: Operations) -> None:
        self._client = client
        self._objects = objects
        self._realiser = realiser
        self._operations = operations

    async def create(self, kind: Kind[ResourceT, Any], request: Any) -> ResourceT:
        """The object, made or found as it was asked for."""
        pattern = kind.pattern
        fields.check(request, "")
        parent = pattern.check_parent(getattr(request, "parent", ""))
        name = pattern.name(parent, getattr(request, f"{pattern.field}_id"))
        asked = fields.as_asked(getattr(request, pattern.field))
        return await self._operations.run(name, f"Create{pattern.message}", lambda: self._create(kind, name, asked))

    async def get(self, kind: Kind[ResourceT, Any], request: Any) -> ResourceT:
        """The object with its status as of now."""
        fields.check(request, "")
        entry = self._objects.get(kind.pattern.check(request.name))
        (up,) = await self._look([entry], LiveView(self._client))
        shown: ResourceT = _shown(entry, up)
        return shown

    async def page(self, kind: Kind[ResourceT, Any], request: Any, response: Any) -> Any:
        """`response`, filled with one page."""
        fields.check(request, "")
        parent = kind.pattern.check_parent(getattr(request, "parent", ""))
        if parent:
            self._objects.get(parent)
        names = self._objects.names(kind, parent)
        query = f"{kind.pattern.message} {parent}"
        names, response.next_page_token = page_of(names, query=query, size=request.page_size, token=request.page_token)
        entries = [self._objects.get(name) for name in names]
        shown = zip(entries, await self._look(entries, None), strict=True)
        getattr(response, kind.pattern.list_field).extend(_shown(entry, up) for entry, up in shown)
        return response

    async def update(self, kind: Kind[ResourceT, Any], request: Any) -> ResourceT:
        """The object as changed. With allow_missing an absent one is created."""
        pattern = kind.pattern
        sent = getattr(request, pattern.field)
        name = pattern.check(sent.name)

        async def change() -> ResourceT:
            entry = self._objects.find(name)
            if entry is None and request.allow_missing:
                fields.check(sent, pattern.field)
                pattern.name(parent_of(name), id_of(name))
                return await self._create(kind, name, fields.as_asked(sent))
            updated: ResourceT = await self._update(self._objects.get(name), sent, request.update_mask.paths)
            return updated

        return await self._operations.run(name, f"Update{pattern.message}", change)

    async def delete(self, kind: Kind[ResourceT, Any], request: Any) -> None:
        """Removes the object from SPDK, then its record."""
        fields.check(request, "")
        name = kind.pattern.check(request.name)

        async def remove() -> None:
            if request.allow_missing and self._objects.find(name) is None:
                return
            await self._delete(self._objects.get(name))

        await self._operations.run(name, f"Delete{kind.pattern.message}", remove)

    # Inside of the operation, one at a time for each object:

    async def _create(self, kind: Kind[ResourceT, Any], name: str, asked: ResourceT) -> ResourceT:
        entry = self._objects.find(name)
        if entry is None:
            entry = await self._create_new(kind, name, asked)
        else:
            differing = list(fields.differences(asked, entry.asked))
            if differing:
                raise AlreadyExistsError(
                    f"{name} exists with another {', '.join(differing)}; delete it first, or create it as it is"
                )
            await self._realiser.ensure(entry)
        shown: ResourceT = _shown(entry, up=True)
        return shown

    async def _create_new(self, kind: Kind[ResourceT, Any], name: str, asked: Any) -> Entry:
        resource = type(asked)()
        resource.CopyFrom(asked)
        if parent_of(name):
            self._objects.get(parent_of(name))
        kind.complete(name, resource, self._objects)
        entry = Entry(name, kind, asked, resource)
        self._objects.add(entry)
        durable = asyncio.ensure_future(self._objects.commit(entry))
        try:
            await self._realiser.ensure(entry, durable=asyncio.shield(durable))
        except DpucsiError:
            if not entry.doubt:
                await self._forget(entry, durable)
            raise
        return entry

    async def _forget(self, entry: Entry, durable: "asyncio.Future[None]") -> None:
        """Undoes the record of a create of which it is proven that it made nothing."""
        await asyncio.wait([durable])
        if durable.exception() is None:
            await self._objects.erase(entry)
        else:
            self._objects.drop(entry)

    async def _update(self, entry: Entry, sent: Any, paths: Iterable[str]) -> Any:
        wanted = masks.merged(entry.asked, sent, paths)
        fields.check(wanted, entry.kind.pattern.field)
        differing = list(fields.differences(wanted, entry.asked))
        fixed = [path for path in differing if path not in entry.kind.changeable]
        if fixed:
            raise UnimplementedError(
                f"{', '.join(fixed)} of {entry.name} cannot be changed; delete and create it again"
            )
        if differing:
            entry.kind.check_change(entry.name, wanted, self._objects)
            resource = type(wanted)()
            resource.CopyFrom(wanted)
            entry.kind.complete(entry.name, resource, self._objects)
            entry.asked, entry.resource = wanted, resource
            await self._objects.commit(entry)
        return _shown(entry, up=True)

    async def _delete(self, entry: Entry) -> None:
        blockers = list(entry.kind.blockers(entry.name, self._objects))
        if blockers:
            named = ", ".join(blockers[:5]) + (f" and {len(blockers) - 5} more" if len(blockers) > 5 else "")
            raise FailedPreconditionError(f"{entry.name} is still used by {named}; delete them first")
        entry.deleting = True
        try:
            await self._realiser.remove(entry)
            await self._objects.erase(entry)
        finally:
            entry.deleting = False

    async def _look(self, entries: list[Entry], view: View | None) -> list[bool]:
        """Which of them work. None does while SPDK is away."""
        if any(entry.kind.in_spdk for entry in entries):
            with contextlib.suppress(UnavailableError, TimedOutError), limit(LOOK_S):
                looker = view or await Snapshot.take(self._client)
                return list(await asyncio.gather(*(_is_up(entry, looker) for entry in entries)))
        return [False] * len(entries)


async def _is_up(entry: Entry, view: View) -> bool:
    seen = await entry.kind.read(entry.name, entry.resource, view)
    try:
        return entry.kind.is_up(entry.resource, seen)
    except DpucsiError:  # something else is in its place
        return False


def _shown(entry: Entry, up: bool) -> Any:
    """A copy for the client."""
    shown = type(entry.resource)()
    shown.CopyFrom(entry.resource)
    shown.name = entry.name
    entry.kind.show(shown, up)
    return shown
