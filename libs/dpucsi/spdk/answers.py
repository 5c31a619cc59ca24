"""Reading SPDK's answers: tolerant of fields that we do not know, strict about those that we need."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from dpucsi.spdk.errors import UnexpectedAnswerError
from dpucsi.spdk.jsonrpc import Json, Params

ItemT = TypeVar("ItemT")
KindT = TypeVar("KindT", str, int, bool)


class Caller(Protocol):
    """What the typed functions need: a client, or one connection of it."""

    async def call(self, method: str, params: Params | None = None) -> Json:
        """The result of one call."""
        ...


class Fields:
    """One JSON object of the answer to `method`. Every reader raises UnexpectedAnswerError that names the field."""

    def __init__(self, method: str, value: Json) -> None:
        if not isinstance(value, dict):
            raise UnexpectedAnswerError(f"SPDK answered {method} with {_kind(value)}, wanted an object")
        self._method = method
        self._value = value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        return self._read(key, str, default)

    def number(self, key: str, default: int | None = None) -> int:
        """An integer."""
        return self._read(key, int, default)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """A boolean."""
        return self._read(key, bool, default)

    def fields(self, key: str) -> "Fields":
        """An object; an absent one reads as an empty one."""
        return Fields(self._method, self._value.get(key, {}))

    def has(self, key: str) -> bool:
        """Whether the field is there."""
        return key in self._value

    def each(self, key: str, read: Callable[["Fields"], ItemT]) -> tuple[ItemT, ...]:
        """A list of objects; an absent one reads as an empty one."""
        return each(self._method, self._value.get(key, []), read)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return texts(self._method, self._value.get(key))

    def _read(self, key: str, kind: type[KindT], default: KindT | None) -> KindT:
        value = self._value.get(key, default)
        if type(value) is kind:  # exactly: True is an int, and not the number that was asked for
            return value
        raise UnexpectedAnswerError(
            f"SPDK answered {self._method} with {_kind(value) if key in self._value else 'no'} field {key!r}, "
            f"wanted {_kind(kind())}; is this SPDK a version that we know?"
        )


def each(method: str, value: Json, read: Callable[[Fields], ItemT]) -> tuple[ItemT, ...]:
    """The objects of a list, each read by `read`."""
    if not isinstance(value, list):
        raise UnexpectedAnswerError(f"SPDK answered {method} with {_kind(value)}, wanted a list")
    return tuple(read(Fields(method, item)) for item in value)


def only(method: str, items: tuple[ItemT, ...]) -> ItemT:
    """The one item of a read by name."""
    if len(items) != 1:
        raise UnexpectedAnswerError(f"SPDK answered {method} by name with {len(items)} items, wanted one")
    return items[0]


def text(method: str, value: Json) -> str:
    """An answer that is one string: the name of what was made."""
    if not isinstance(value, str):
        raise UnexpectedAnswerError(f"SPDK answered {method} with {_kind(value)}, wanted a text")
    return value


def number(method: str, value: Json) -> int:
    """An answer that is one number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnexpectedAnswerError(f"SPDK answered {method} with {_kind(value)}, wanted a number")
    return value


def texts(method: str, value: Json) -> tuple[str, ...]:
    """An answer that is a list of strings."""
    if not isinstance(value, list):
        raise UnexpectedAnswerError(f"SPDK answered {method} with {_kind(value)}, wanted a list of texts")
    return tuple(text(method, item) for item in value)


def done(method: str, value: Json) -> None:
    """An answer that only says that it was done. `false` would be a refusal without a reason."""
    if value is not True:
        raise UnexpectedAnswerError(f"SPDK answered {method} with {str(value)[:40]!r}, wanted true")


def given(**params: Json) -> dict[str, Json]:
    """The parameters that were given: None means that SPDK's own default counts, and such a one is not sent."""
    return {key: value for key, value in params.items() if value is not None}


def _kind(value: object) -> str:
    """What a value is, never the value itself: it may be a secret."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a fraction"}
    return kinds.get(type(value), "null")
