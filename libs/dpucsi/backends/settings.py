"""A storage backend's table of the TOML file, read into its frozen dataclass of settings."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

from dpucsi.errors import InvalidArgumentError

SettingsT = TypeVar("SettingsT")


def setting(help_text: str, *, default: Any = dataclasses.MISSING, parse: Callable[[Any], Any] | None = None) -> Any:
    """A field of a settings dataclass. `parse` gives a value its final form, or raises InvalidArgumentError."""
    return dataclasses.field(default=default, metadata={"help": help_text, "parse": parse})


def read_table(settings: type[SettingsT], table: Mapping[str, object]) -> SettingsT:
    """Fills `settings`. Raises InvalidArgumentError that names the key and explains what it is for.

    Types known here: str, bool, int, tuple[…] (a TOML array of texts). Each value is checked before `parse` sees it.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}  # type: ignore[arg-type]  # as config.load
    unknown = sorted(table.keys() - fields.keys())
    if unknown:
        raise InvalidArgumentError(f"key {unknown[0]!r} is unknown; known are {', '.join(fields)}")
    hints = get_type_hints(settings)
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(name, field, hints[name], table[name])
        elif field.default is dataclasses.MISSING:
            raise InvalidArgumentError(f"key {name!r} is missing: {field.metadata['help']}")
    return settings(**values)


def _value(key: str, field: "dataclasses.Field[Any]", hint: Any, value: object) -> Any:
    if isinstance(value, list):
        fits = getattr(hint, "__origin__", None) is tuple and all(isinstance(item, str) for item in value)
        value = tuple(value)
    else:
        fits = type(value) is hint
    if not fits:
        raise InvalidArgumentError(f"{key} is {value!r}, which has the wrong type; wanted {field.metadata['help']}")
    parse = field.metadata["parse"]
    if parse is None:
        return value
    try:
        return parse(value)
    except InvalidArgumentError as wrong:
        raise InvalidArgumentError(f"{key}: {wrong}") from wrong
