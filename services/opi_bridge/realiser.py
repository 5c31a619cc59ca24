"""From an object to SPDK and back: read what is, compare, act on the difference, read again only if the act failed."""

import contextlib
from collections.abc import Awaitable

from dpucsi.errors import DpucsiError, TimedOutError, UnavailableError
from dpucsi.spdk import Instance, SpdkClient
from opi_bridge.kind import View
from opi_bridge.names import parent_of
from opi_bridge.objects import Entry, Objects
from opi_bridge.preparation import Preparation
from opi_bridge.views import LiveView

# After these nobody knows whether the call was carried out; after every other error the state is read and decides.
UNKNOWN_OUTCOME = (UnavailableError, TimedOutError)


class Realiser:
    """Acts on one object at a time, under the object's lock."""

    def __init__(self, client: SpdkClient, objects: Objects, preparation: Preparation) -> None:
        self._client = client
        self._objects = objects
        self._preparation = preparation
        self._live = LiveView(client)

    async def ensure(self, entry: Entry, *, durable: Awaitable[None] | None = None, view: View | None = None) -> None:
        """Makes `entry` so; nothing is made before `durable` is done.

        With `entry.doubt` unset an error means that it was not made. An object that is known to
        be so in this very SPDK process costs nothing.
        """
        async with entry.lock:
            if not entry.gone:
                await self._ensure(entry, durable, view or self._live)
        if durable is not None:
            await durable

    async def _ensure(self, entry: Entry, durable: Awaitable[None] | None, view: View) -> None:
        if not entry.kind.in_spdk or self._preparation.is_current(entry.realised):
            return
        instance = await self._preparation.done()
        if durable is not None and entry.kind.acts_first:
            await self._after(durable, instance, entry, None)
        else:
            seen = await entry.kind.read(entry.name, entry.resource, view)
            if not entry.kind.is_so(entry.resource, seen):
                entry.kind.check_before(entry.name, entry.resource, seen)
                await self._after(durable, instance, entry, seen)
        entry.version += 1
        entry.realised, entry.problem, entry.doubt = instance, "", False

    async def _after(self, durable: Awaitable[None] | None, instance: Instance, entry: Entry, seen: object) -> None:
        if durable is not None:
            await durable
        self._check_parent(entry)
        with self._client.only(instance):
            await self._make(entry, seen)

    def _check_parent(self, entry: Entry) -> None:
        parent = self._objects.find(parent_of(entry.name))
        if parent is not None and parent.kind.in_spdk and not self._preparation.is_current(parent.realised):
            raise UnavailableError(
                f"{entry.name}: {self._client} has no {parent.name} now{parent.problem and f' ({parent.problem})'};"
                " it is being brought back, try again"
            )

    async def _make(self, entry: Entry, seen: object) -> None:
        entry.doubt = True
        entry.version += 1
        try:
            await entry.kind.make(entry.name, entry.resource, seen)
        except UNKNOWN_OUTCOME:
            raise
        except DpucsiError as error:
            await self._judge(entry, seen, error)

    async def _judge(self, entry: Entry, before: object, error: DpucsiError) -> None:
        """`make` failed: is it so nevertheless, is nothing of it there, or is a part of it ours to undo?"""
        kind = entry.kind
        seen = await kind.read(entry.name, entry.resource, self._live)
        entry.doubt = not kind.is_gone(entry.resource, seen)
        if kind.is_so(entry.resource, seen):
            return
        if not kind.is_gone(entry.resource, seen) and kind.is_gone(entry.resource, before):
            with contextlib.suppress(DpucsiError):
                await kind.unmake(entry.name, entry.resource)
            seen = await kind.read(entry.name, entry.resource, self._live)
        entry.doubt = not kind.is_gone(entry.resource, seen)
        raise kind.refused(entry.name, entry.resource, error) from error

    async def remove(self, entry: Entry) -> None:
        """Takes `entry` out of SPDK. One that this process made in this SPDK process is not looked at first."""
        if not entry.kind.in_spdk:
            return
        async with entry.lock:
            instance = await self._preparation.done()
            entry.version += 1
            if entry.realised != instance and await self._is_gone(entry):
                return
            entry.realised = None
            try:
                with self._client.only(instance):
                    await entry.kind.unmake(entry.name, entry.resource)
            except UNKNOWN_OUTCOME:
                raise
            except DpucsiError:
                if not await self._is_gone(entry):
                    raise

    async def _is_gone(self, entry: Entry) -> bool:
        seen = await entry.kind.read(entry.name, entry.resource, self._live)
        return entry.kind.is_gone(entry.resource, seen)
