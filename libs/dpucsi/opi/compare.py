"""Comparing what an OPI server has with what was asked of it."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from dpucsi.errors import FailedPreconditionError

_NOT_COMPARED = {"name"}  # the server's to choose; secrets are never asked for here
_HEXADECIMAL = {"uuid", "nguid"}  # servers return them in either case


def refuse_difference(what: str, wanted: Message, found: Message) -> None:
    """Raises FailedPreconditionError that names every field in which `found` is not as `wanted`.

    Only fields that `wanted` sets count: the rest is the server's choice (OPI: "0: as the server likes").
    """
    differences = list(_differences(wanted, found, ""))
    if differences:
        raise FailedPreconditionError(
            f"{what} exists already and differs: {'; '.join(differences)}; remove it, or find out who made it"
        )


def _differences(wanted: Message, found: Message, prefix: str) -> Iterator[str]:
    for field, value in wanted.ListFields():
        if field.name in _NOT_COMPARED:
            continue
        where = prefix + field.name
        there = getattr(found, field.name)
        if field.type == FieldDescriptor.TYPE_MESSAGE and not _is_wrapper(value):
            yield from _differences(value, there, f"{where}.")
        elif _absent(found, field):
            yield f"{where} is absent, wanted {_shown(field, value)}"
        elif _folded(field, value) != _folded(field, there):
            yield f"{where} is {_shown(field, there)}, wanted {_shown(field, value)}"


def _is_wrapper(value: Any) -> bool:
    """google.protobuf.Int32Value and its like: an unset value and 0 differ, so they are compared as a whole."""
    return isinstance(value, Message) and value.DESCRIPTOR.file.package == "google.protobuf"


def _absent(message: Message, field: FieldDescriptor) -> bool:
    return field.has_presence and not message.HasField(field.name)


def _folded(field: FieldDescriptor, value: Any) -> Any:
    return value.replace("-", "").lower() if field.name in _HEXADECIMAL else value


def _shown(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return str(value.value) if _is_wrapper(value) else repr(value)
