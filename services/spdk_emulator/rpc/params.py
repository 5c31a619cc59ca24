"""What a method accepts, as a table: a name, a type, whether it must be there. Anything else is refused, as SPDK does.

The types take what SPDK's decoders take: 2.0 is a whole number, true is none, a number in quotes is none.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Decode: TypeAlias = Callable[[Json], Any]


_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class MismatchError(Exception):
    """The parameters are not those of the method."""


@dataclass(frozen=True)
class Param:
    """One parameter. An optional one that is absent is `default`."""

    decode: Decode
    is_required: bool
    default: Any = None


def need(decode: Decode) -> Param:
    """A parameter that must be there."""
    return Param(decode, is_required=True)


def may(decode: Decode, default: Any = None) -> Param:
    """A parameter that may be left out."""
    return Param(decode, is_required=False, default=default)


def takes(**spec: Param) -> dict[str, Param]:
    """Everything that a method accepts."""
    return spec


def decode_object(value: Json, spec: Mapping[str, Param], *, is_relaxed: bool = False) -> dict[str, Any]:
    """The decoded members; raises MismatchError. `is_relaxed`: unknown members are passed over."""
    given = {} if value is None else value
    if not isinstance(given, dict):
        raise MismatchError("not an object")
    unknown = given.keys() - spec.keys()
    if unknown and not is_relaxed:
        raise MismatchError(f"unknown: {', '.join(sorted(unknown))}")
    decoded = {}
    for name, param in spec.items():
        if name in given:
            decoded[name] = param.decode(given[name])
        elif param.is_required:
            raise MismatchError(f"missing: {name}")
        else:
            decoded[name] = param.default
    return decoded


def text(value: Json) -> str:
    """A string."""
    if not isinstance(value, str):
        raise MismatchError("not a string")
    return value


def boolean(value: Json) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise MismatchError("not a boolean")
    return value


def uuid_text(value: Json) -> str:
    """A UUID with its dashes, in lower case."""
    if not _UUID.fullmatch(text(value)):
        raise MismatchError("not a UUID")
    return text(value).lower()


def one_of(*names: str) -> Decode:
    """One word of a closed list."""

    def decode(value: Json) -> str:
        if text(value) not in names:
            raise MismatchError(f"none of {', '.join(names)}")
        return text(value)

    return decode


def words(value: Json) -> list[str]:
    """A list of strings."""
    if not isinstance(value, list):
        raise MismatchError("not a list")
    return [text(entry) for entry in value]


def members(**spec: Param) -> Decode:
    """An object with these members and no others."""

    def decode(value: Json) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MismatchError("not an object")
        return decode_object(value, spec)

    return decode


def _whole(low: int, high: int) -> Decode:
    def decode(value: Json) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise MismatchError("not a whole number")
        if not low <= value <= high:
            raise MismatchError(f"not within {low}..{high}")
        return int(value)

    return decode


u8, u16, u32, u64 = (_whole(0, 2**bits - 1) for bits in (8, 16, 32, 64))
i32 = _whole(-(2**31), 2**31 - 1)
