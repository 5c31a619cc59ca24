"""The table of methods: a function with a name, the list of what it accepts, and SPDK's way to refuse the rest."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from spdk_emulator.faults.calls import call_with_faults
from spdk_emulator.rpc.errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from spdk_emulator.rpc.params import Json, MismatchError, Param, decode_object

if TYPE_CHECKING:
    from spdk_emulator.emulator import Emulator

# A function answers at once, or returns what it will answer later: only then may later requests overtake it.
Answer: TypeAlias = "Json | Awaitable[Json]"
Function: TypeAlias = "Callable[..., Answer]"

SET_FAULTS = "emulator_set_faults"
NVMF = RpcError(INVALID_PARAMS, "Invalid parameters")
GENERIC = RpcError(INTERNAL_ERROR, "spdk_json_decode_object failed")
TOO_LATE = RpcError(
    -1,
    "Method may only be called before framework is initialized. Use --wait-for-rpc command line parameter and then "
    "issue this RPC before the framework_start_init RPC.",
)
_METHODS: dict[str, "Method"] = {}


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    name: str
    function: Function
    spec: Mapping[str, Param]
    mismatch: RpcError
    is_relaxed: bool
    is_startup: bool
    bare: RpcError | None
    is_own: bool = False  # not one of SPDK's: it is not listed, reads its parameters itself, and no fault concerns it


def method(
    name: str,
    spec: Mapping[str, Param] | None = None,
    *,
    mismatch: RpcError = GENERIC,
    is_relaxed: bool = False,
    is_startup: bool = False,
    bare: RpcError | None = None,
) -> Callable[[Function], Function]:
    """Puts a function into the table.

    `mismatch`: the refusal of other parameters than `spec` has. `is_startup`: allowed in the start-up configuration
    only. `bare`: the refusal of any parameters at all, even none in an object.
    """

    def add(function: Function) -> Function:
        _METHODS[name] = Method(name, function, spec or {}, mismatch, is_relaxed, is_startup, bare)
        return function

    return add


def own_method(name: str) -> Callable[[Function], Function]:
    """Puts a function of the emulator's own into the table; it is called with the parameters as they came."""

    def add(function: Function) -> Function:
        _METHODS[name] = Method(name, function, {}, GENERIC, is_relaxed=False, is_startup=False, bare=None, is_own=True)
        return function

    return add


def names() -> list[str]:
    """All methods that SPDK has too; it lists the last one made first."""
    return [name for name, entry in reversed(_METHODS.items()) if not entry.is_own]


def call(emulator: "Emulator", name: str, params: Json, *, is_starting: bool = False) -> Answer:
    """Starts one method; raises RpcError. `params` None: there were none."""
    if is_starting or name == SET_FAULTS:
        return _start(emulator, name, params, is_starting=is_starting)
    return call_with_faults(emulator.faults, name, lambda: _start(emulator, name, params, is_starting=False))


def _start(emulator: "Emulator", name: str, params: Json, *, is_starting: bool) -> Answer:
    entry = _METHODS.get(name)
    if entry is None:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    if entry.is_startup and not is_starting:
        raise TOO_LATE
    if entry.bare is not None and params is not None:
        raise entry.bare
    if entry.is_own:
        return entry.function(emulator, params)
    try:
        arguments: dict[str, Any] = decode_object(params, entry.spec, is_relaxed=entry.is_relaxed)
    except MismatchError as wrong:
        raise entry.mismatch from wrong
    return entry.function(emulator, **arguments)


def is_startup(name: str) -> bool:
    """Whether a method is allowed in the start-up configuration only."""
    return _METHODS[name].is_startup
