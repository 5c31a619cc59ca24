"""Reading `--driver-option key=value`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dpucsi.errors import InvalidArgumentError
from dpucsi.model import HostFunction


def split_options(texts: Iterable[str]) -> dict[str, str]:
    """Texts of the form key=value; raises InvalidArgumentError for another form or a key given twice."""
    options: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals or not value:
            raise InvalidArgumentError(f"driver option {text!r} is not of the form key=value")
        if key in options:
            raise InvalidArgumentError(f"driver option {key!r} is given twice")
        options[key] = value
    return options


def known_options(driver: str, options: Mapping[str, str], known: Iterable[str]) -> None:
    """Raises InvalidArgumentError for an option that this driver does not have."""
    known = tuple(known)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InvalidArgumentError(
            f"the DPU driver {driver} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )


def folder(driver: str, options: Mapping[str, str], key: str) -> Path:
    """An absolute path."""
    path = Path(options.get(key, ""))
    if not path.is_absolute():
        raise InvalidArgumentError(f"the DPU driver {driver} needs --driver-option {key}=/absolute/path")
    return path


def function_list(options: Mapping[str, str]) -> tuple[HostFunction, ...]:
    """The option `functions`: names like port0-pf0-vf1, separated by commas; () where it is not given."""
    functions = tuple(HostFunction.parse(text.strip()) for text in options.get("functions", "").split(",") if text)
    if len(set(functions)) != len(functions):
        raise InvalidArgumentError(f"driver option functions names one twice: {options['functions']}")
    return functions
