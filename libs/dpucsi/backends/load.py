"""From the file of --backends to storage backends: one instance per table, its class found by entry point."""

import tomllib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from dpucsi.backends.contract import StorageBackend
from dpucsi.errors import InvalidArgumentError
from dpucsi.naming import BACKEND_NAME

GROUP = "dpucsi.storage_backends"


def load_backends(path: Path) -> dict[str, StorageBackend]:
    """Each table of the file by its name. Raises InvalidArgumentError that names the file, the table and the key."""
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as unreadable:
        raise InvalidArgumentError(
            f"the file of storage backends {path} cannot be read: {unreadable.strerror}"
        ) from unreadable
    except ValueError as malformed:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidArgumentError(f"{path} is not TOML: {malformed}") from malformed
    if not tables:
        raise InvalidArgumentError(
            f'{path} has no table; give one per storage backend, e.g. [pool-a] type = "spdk-lvol"'
        )
    kinds = {point.name: point for point in entry_points(group=GROUP)}
    return {name: _configure(f"{path} [{name}]", name, table, kinds) for name, table in tables.items()}


def _configure(where: str, name: str, table: object, kinds: Mapping[str, EntryPoint]) -> StorageBackend:
    if not BACKEND_NAME.fullmatch(name):
        raise InvalidArgumentError(f"{where}: a name has 1 to 63 lower-case letters, digits and '-' inside")
    if not isinstance(table, dict):
        raise InvalidArgumentError(f"{where} is not a table; every storage backend has one of its own")
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        found = "no type" if kind is None else f"type {kind!r}"
        raise InvalidArgumentError(f"{where} has {found}; installed are {', '.join(sorted(kinds)) or 'none'}")
    backend: type[StorageBackend] = kinds[kind].load()
    try:
        return backend.configure(name, {key: value for key, value in table.items() if key != "type"})
    except InvalidArgumentError as wrong:
        raise InvalidArgumentError(f"{where}: {wrong}") from wrong
