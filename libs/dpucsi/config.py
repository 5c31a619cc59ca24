"""One frozen dataclass per process is its whole configuration; this module fills it from options and environment.

`--listen X` on the command line wins over `DPUCSI_LISTEN` in the environment, which wins over the field's default.
A field without a default is required. Secrets are given as paths of files, never as values.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from dpucsi.errors import InvalidArgumentError

ConfigT = TypeVar("ConfigT")
ENVIRONMENT_PREFIX = "DPUCSI_"


def option(
    help_text: str,
    *,
    default: Any = dataclasses.MISSING,
    parse: Callable[[str], Any] | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of a configuration: `help_text` gives its unit and the reason for its default."""
    metadata = {"help": help_text, "parse": parse, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """What every gRPC service of the suite is told."""

    listen: tuple[str, ...] = option("gRPC endpoint to serve, unix:///path or tcp://host:port; repeat for more")
    tls_ca: Path | None = option("PEM file of the CA whose certificates the far side must show (mTLS)", default=None)
    tls_cert: Path | None = option("PEM file of this service's certificate chain", default=None)
    tls_key: Path | None = option("PEM file of this service's private key, mode 0600", default=None)
    insecure: bool = option("allow TCP without TLS; for labs only", default=False)
    operation_limit: float = option(
        "seconds after which an operation that its caller gave up on is stopped; longer than any healthy one",
        default=60.0,
    )
    drain: float = option("seconds that running calls get to end after SIGTERM", default=20.0)
    log_format: str = option("how log lines look", default="json", choices=("json", "console"))
    log_level: str = option("lowest level logged", default="info", choices=("debug", "info", "warning", "error"))


def load(
    config: type[ConfigT],
    *,
    prog: str,
    description: str,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ConfigT:
    """Fills `config`; ends the process with the parser's usual exit code 2 and a sentence where something is wrong."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    hints = get_type_hints(config)
    fields = dataclasses.fields(config)  # type: ignore[arg-type]  # TypeVar bound to a dataclass cannot be expressed
    for field in fields:
        _add(parser, field, hints[field.name])
    given = vars(parser.parse_args(argv))
    values: dict[str, Any] = {}
    for field in fields:
        text = given[field.name]
        if text is None:
            text = _from_environment(environ, field, hints[field.name])
        if text is not None:
            values[field.name] = _value(parser, field, hints[field.name], text)
        elif field.default is dataclasses.MISSING:
            parser.error(f"{_flag(field)} is required (or {_variable(field)} in the environment)")
    try:
        return config(**values)
    except InvalidArgumentError as wrong:  # a __post_init__ that compares fields with each other
        parser.error(str(wrong))


def _add(parser: argparse.ArgumentParser, field: "dataclasses.Field[Any]", hint: Any) -> None:
    shown = "" if field.default in (dataclasses.MISSING, None, ()) else f" (default: {field.default})"
    words = f"{field.metadata['help']}{shown} [{_variable(field)}]".replace("%", "%%")
    if hint is bool:
        parser.add_argument(_flag(field), action=argparse.BooleanOptionalAction, default=None, help=words)
    elif get_origin(hint) is tuple:
        parser.add_argument(_flag(field), action="append", metavar="VALUE", help=words)
    else:
        choices = field.metadata["choices"] or None
        parser.add_argument(_flag(field), choices=choices, metavar=None if choices else "VALUE", help=words)


def _from_environment(environ: Mapping[str, str], field: "dataclasses.Field[Any]", hint: Any) -> Any:
    text = environ.get(_variable(field))
    if text is not None and get_origin(hint) is tuple:
        return [part for part in text.split(",") if part]
    return text


def _value(parser: argparse.ArgumentParser, field: "dataclasses.Field[Any]", hint: Any, given: Any) -> Any:
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        return tuple(_one(parser, field, element, text) for text in given)
    return _one(parser, field, hint, given)


def _one(parser: argparse.ArgumentParser, field: "dataclasses.Field[Any]", hint: Any, given: Any) -> Any:
    if isinstance(given, bool):
        return given
    if isinstance(hint, UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    parse = field.metadata["parse"] or (_boolean if hint is bool else hint)
    choices = field.metadata["choices"]
    if choices and given not in choices:
        parser.error(f"{_flag(field)}: {given!r} is none of {', '.join(choices)}")
    try:
        return parse(given)
    except (ValueError, InvalidArgumentError) as wrong:
        wanted = {int: "a whole number", float: "a number", UUID: "a UUID"}.get(hint, "something else")
        reason = str(wrong) if isinstance(wrong, InvalidArgumentError) else f"{given!r} is not {wanted}"
        parser.error(f"{_flag(field)}: {reason}")


def _boolean(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in words:
        raise InvalidArgumentError(f"{text!r} is not true or false")
    return words[text.lower()]


def _flag(field: "dataclasses.Field[Any]") -> str:
    return "--" + field.name.replace("_", "-")


def _variable(field: "dataclasses.Field[Any]") -> str:
    return ENVIRONMENT_PREFIX + field.name.upper()
