"""The start-up configuration: the same file that SPDK takes with --json, run through the same table of methods."""

import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from dpucsi.errors import InvalidArgumentError
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc import table
from spdk_emulator.rpc.errors import RpcError


async def apply_startup(emulator: Emulator, file: Path) -> None:
    """Calls what the file lists, one after the other; raises InvalidArgumentError at the first that is refused."""
    for method, params in _calls(file):
        try:
            answer = table.call(emulator, method, params, is_starting=True)
            if isinstance(answer, Awaitable):
                await answer
        except RpcError as refused:
            raise InvalidArgumentError(
                f"{file}: {method} was refused ({refused.code}, {refused.message}); correct its parameters"
            ) from refused


def _calls(file: Path) -> list[tuple[str, Any]]:
    try:
        subsystems = json.loads(file.read_text())["subsystems"]
        calls = [entry for subsystem in subsystems for entry in subsystem["config"] or ()]
        return [(entry["method"], entry.get("params")) for entry in calls]
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise InvalidArgumentError(f"{file} is not a configuration as save_config writes it: {wrong}") from wrong
