"""What the google.api.field_behavior annotations ask for, done for any message."""

from collections.abc import Iterator
from functools import cache
from typing import TypeVar

from google.api import field_behavior_pb2 as behavior
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from dpucsi.errors import InvalidArgumentError

MessageT = TypeVar("MessageT", bound=Message)
_SERVER_SIDE = {behavior.OUTPUT_ONLY, behavior.IDENTIFIER}


@cache
def behaviors(message: Descriptor) -> dict[str, frozenset[int]]:
    """The annotations of each field."""
    return {field.name: frozenset(field.GetOptions().Extensions[behavior.field_behavior]) for field in message.fields}


def is_server_side(message: Message, field: str) -> bool:
    """OUTPUT_ONLY or IDENTIFIER: what a client sends there does not count."""
    return bool(behaviors(message.DESCRIPTOR)[field] & _SERVER_SIDE)


def is_set(message: Message, name: str) -> bool:
    """Present, or unlike the default where the field knows no presence."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        return len(getattr(message, name)) > 0
    if field.has_presence:
        return message.HasField(name)
    return bool(getattr(message, name) != field.default_value)


def check(message: Message, where: str) -> None:
    """Raises InvalidArgumentError for a REQUIRED field that is not set and an enum value that nobody defined."""
    for field in message.DESCRIPTOR.fields:
        path = f"{where}.{field.name}" if where else field.name
        if not is_set(message, field.name):
            if behavior.REQUIRED in behaviors(message.DESCRIPTOR)[field.name]:
                raise InvalidArgumentError(f"{path} is required and is not set")
            continue
        value = getattr(message, field.name)
        if field.enum_type is not None and value not in field.enum_type.values_by_number:
            known = ", ".join(field.enum_type.values_by_name)
            raise InvalidArgumentError(f"{path} is {value}, wanted one of {known}")
        if field.message_type is not None and not field.is_repeated:
            check(value, path)


def as_asked(message: MessageT) -> MessageT:
    """A copy without the fields that are the server's alone."""
    copy = type(message)()
    copy.CopyFrom(message)
    _clear_server_side(copy)
    return copy


def _clear_server_side(message: Message) -> None:
    for field, value in message.ListFields():
        if is_server_side(message, field.name):
            message.ClearField(field.name)
        elif field.message_type is not None and not field.is_repeated:
            _clear_server_side(value)


def differences(wanted: Message, found: Message, prefix: str = "") -> Iterator[str]:
    """The paths of the fields in which two messages of one type differ; values are not shown, some are secrets."""
    for field in wanted.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        one, other = getattr(wanted, field.name), getattr(found, field.name)
        if one == other and is_set(wanted, field.name) == is_set(found, field.name):
            continue
        if (
            field.message_type is not None
            and not field.is_repeated
            and is_set(wanted, field.name) == is_set(found, field.name)
        ):
            yield from differences(one, other, f"{path}.")
        else:
            yield path
