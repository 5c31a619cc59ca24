"""Field masks of Update calls, AIP-134: a missing mask means every field that the request has set, `*` means all."""

from collections.abc import Iterable

from google.protobuf.message import Message

from dpucsi.errors import InvalidArgumentError
from opi_bridge.fields import MessageT, as_asked, is_server_side, is_set


def merged(stored: MessageT, sent: MessageT, paths: Iterable[str]) -> MessageT:
    """`stored` with the masked fields of `sent`. Raises InvalidArgumentError for a path that cannot be written."""
    sent = as_asked(sent)
    paths = list(paths) or list(_set_paths(sent))
    if "*" in paths:
        if len(paths) > 1:
            raise InvalidArgumentError("update_mask names '*' and other paths; '*' stands alone")
        return sent
    result = type(stored)()
    result.CopyFrom(stored)
    for path in paths:
        _copy(sent, result, path.split("."), path)
    return result


def _set_paths(message: Message, prefix: str = "") -> Iterable[str]:
    for field, value in message.ListFields():
        if field.message_type is not None and not field.is_repeated:
            yield from _set_paths(value, f"{prefix}{field.name}.") if value.ListFields() else [f"{prefix}{field.name}"]
        else:
            yield f"{prefix}{field.name}"


def _copy(sent: Message, result: Message, steps: list[str], path: str) -> None:
    step, *deeper = steps
    field = sent.DESCRIPTOR.fields_by_name.get(step)
    if field is None:
        raise InvalidArgumentError(f"update_mask path {path!r}: {sent.DESCRIPTOR.name} has no field {step!r}")
    if is_server_side(sent, step):
        raise InvalidArgumentError(f"update_mask path {path!r}: only this service sets {step!r}")
    if deeper:
        if field.message_type is None or field.is_repeated:
            raise InvalidArgumentError(f"update_mask path {path!r}: {step!r} has no fields of its own")
        _copy(getattr(sent, step), getattr(result, step), deeper, path)
    elif not is_set(sent, step):
        result.ClearField(step)
    elif field.message_type is not None:
        getattr(result, step).CopyFrom(getattr(sent, step))
    else:
        setattr(result, step, getattr(sent, step))
