"""The desired objects: what clients asked for, in memory and durable, and how they depend on each other."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from dpucsi.errors import AlreadyExistsError, BusyError, NotFoundError
from dpucsi.spdk import Instance
from dpucsi.store import Records
from opi_bridge.kind import AnyKind
from opi_bridge.names import parent_of

_LENGTH = 4  # bytes in front of a record's first message


@dataclass(eq=False)
class Entry:
    """One object. `asked` is what the client sent, `resource` the same with what this service filled in.

    `realised` is the SPDK process in which it was last seen or made as wanted. `doubt`: a call that makes it was sent
    and its outcome is unknown. `version` counts how often it was acted on. `lock` is held by whoever acts on it.
    """

    name: str
    kind: AnyKind
    asked: Any
    resource: Any
    realised: Instance | None = None
    doubt: bool = False
    problem: str = ""
    deleting: bool = False
    gone: bool = False
    version: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def depends_on(self) -> set[str]:
        """The parent and what the object refers to."""
        return {parent_of(self.name), *self.kind.references(self.resource)} - {""}


class Objects:
    """All of them. Look-ups and `add` never wait, so what they find holds until the caller awaits something."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._entries: dict[str, Entry] = {}
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)
        self._owner: dict[str, str] = {}  # each of the keys -> the name of the object that has it

    def load(self, kinds: Iterable[AnyKind]) -> None:
        """Takes in what the records hold, kind by kind. Blocks: call it before serving."""
        for kind in kinds:
            for name, value in self._records.load(kind.pattern.message).items():
                asked, resource = _decode(kind.message, value)
                self._insert(Entry(name, kind, asked, resource))

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def find(self, name: str) -> Entry | None:
        """The object of this name."""
        return self._entries.get(name)

    def get(self, name: str) -> Entry:
        """The object of this name, or NotFoundError."""
        entry = self._entries.get(name)
        if entry is None:
            raise NotFoundError(f"there is no {name}")
        return entry

    def names(self, kind: AnyKind, parent: str) -> list[str]:
        """The objects of one kind under one parent ("" for the outermost level)."""
        under = self._dependents.get(parent, set()) if parent else self._entries
        return [n for n in under if self._entries[n].kind is kind and parent_of(n) == parent]

    def dependents(self, name: str) -> list[str]:
        """The children of an object and the objects that refer to it."""
        return sorted(self._dependents.get(name, ()))

    def add(self, entry: Entry) -> None:
        """Takes a new object in, not durable yet. Raises NotFoundError, BusyError, AlreadyExistsError."""
        for name in entry.depends_on():
            if self.get(name).deleting:
                raise BusyError(f"{name} is being deleted, so {entry.name} cannot be created; try again later")
        for key in entry.kind.keys(entry.name, entry.resource):
            if key in self._owner:
                raise AlreadyExistsError(
                    f"{entry.name} cannot have {key}: {self._owner[key]} has it; delete that one, or ask for another"
                )
        self._insert(entry)

    async def commit(self, entry: Entry) -> None:
        """Makes it durable as it is now."""
        value = _encode(entry.asked, entry.resource)
        await self._records.put(entry.kind.pattern.message, entry.name, value)

    async def erase(self, entry: Entry) -> None:
        """Forgets it, the record first."""
        await self._records.remove(entry.kind.pattern.message, entry.name)
        self.drop(entry)

    def drop(self, entry: Entry) -> None:
        """Forgets an object that has no record."""
        entry.gone = True
        del self._entries[entry.name]
        for name in entry.depends_on():
            self._dependents[name].discard(entry.name)
        self._dependents.pop(entry.name, None)
        for key in entry.kind.keys(entry.name, entry.resource):
            self._owner.pop(key, None)

    def _insert(self, entry: Entry) -> None:
        self._entries[entry.name] = entry
        for name in entry.depends_on():
            self._dependents[name].add(entry.name)
        for key in entry.kind.keys(entry.name, entry.resource):
            self._owner[key] = entry.name


def _encode(asked: Message, resource: Message) -> bytes:
    first = asked.SerializeToString(deterministic=True)
    return len(first).to_bytes(_LENGTH) + first + resource.SerializeToString(deterministic=True)


def _decode(message: type[Message], value: bytes) -> tuple[Message, Message]:
    length = int.from_bytes(value[:_LENGTH])
    return message.FromString(value[_LENGTH : _LENGTH + length]), message.FromString(value[_LENGTH + length :])
