"""nvmf_subsystem_*_listener*."""

import errno
from collections.abc import Awaitable
from typing import Any

from spdk_emulator.emulator import Emulator
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.subsystem import Listener, Subsystem
from spdk_emulator.rpc.errors import INTERNAL_ERROR, RpcError, invalid_parameters
from spdk_emulator.rpc.params import Json, boolean, may, members, need, one_of, takes, text, u32
from spdk_emulator.rpc.table import NVMF, method

_ADDRESS = members(trtype=need(text), traddr=need(text), adrfam=may(text), trsvcid=may(text))
_ANA_STATES = ("optimized", "non_optimized", "inaccessible")
_SOCK_IMPLEMENTATIONS = (None, "posix", "ssl", "uring")


@method(
    "nvmf_subsystem_add_listener",
    takes(
        nqn=need(text),
        tgt_name=may(text),
        listen_address=need(_ADDRESS),
        secure_channel=may(boolean, False),
        ana_state=may(one_of(*_ANA_STATES), "optimized"),
        sock_impl=may(text),
    ),
    mismatch=NVMF,
    is_relaxed=True,
)
def nvmf_subsystem_add_listener(
    emulator: Emulator,
    *,
    nqn: str,
    tgt_name: str | None,
    listen_address: dict[str, Any],
    secure_channel: bool,
    ana_state: str,
    sock_impl: str | None,
) -> Json:
    """A listener with a secure channel listens, and lets nobody in: TLS is not offered."""
    subsystem = emulator.target.find(nqn, tgt_name)
    address = _address(listen_address)
    if subsystem.allow_any_host and secure_channel:
        raise RpcError(INTERNAL_ERROR, "Cannot establish secure channel, when 'allow_any_host' is set")
    if sock_impl not in _SOCK_IMPLEMENTATIONS:
        raise invalid_parameters()
    emulator.target.add_listener(subsystem, Listener(address, ana_state, secure_channel))
    return True


@method(
    "nvmf_subsystem_remove_listener",
    takes(nqn=need(text), tgt_name=may(text), listen_address=need(_ADDRESS)),
    mismatch=NVMF,
)
def nvmf_subsystem_remove_listener(
    emulator: Emulator, *, nqn: str, tgt_name: str | None, listen_address: dict[str, Any]
) -> Awaitable[Json]:
    """Who came through it is cut off; the answer comes when none of their commands is running."""
    subsystem = emulator.target.find(nqn, tgt_name)
    listener = _find(subsystem, listen_address)
    if listener is None:
        raise invalid_parameters()
    return _remove(emulator, subsystem, listener)


async def _remove(emulator: Emulator, subsystem: Subsystem, listener: Listener) -> Json:
    await emulator.target.remove_listener(subsystem, listener)
    return True


@method(
    "nvmf_subsystem_listener_set_ana_state",
    takes(
        nqn=need(text),
        tgt_name=may(text),
        listen_address=need(_ADDRESS),
        ana_state=need(one_of(*_ANA_STATES)),
        anagrpid=may(u32, 0),
    ),
    mismatch=NVMF,
)
def nvmf_subsystem_listener_set_ana_state(
    emulator: Emulator,
    *,
    nqn: str,
    tgt_name: str | None,
    listen_address: dict[str, Any],
    ana_state: str,
    anagrpid: int,
) -> Json:
    """Of one ANA group, or of all (0); who came through this listener is told."""
    subsystem = emulator.target.find(nqn, tgt_name)
    listener = _find(subsystem, listen_address)
    if listener is None or not subsystem.ana_reporting or anagrpid > subsystem.max_namespaces:
        raise RpcError(INTERNAL_ERROR, f"error setting ANA state: -{errno.EINVAL}")
    emulator.target.set_ana_state(subsystem, listener, ana_state, anagrpid)
    return True


@method("nvmf_subsystem_get_listeners", takes(nqn=need(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_subsystem_get_listeners(emulator: Emulator, *, nqn: str, tgt_name: str | None) -> Json:
    """Newest first."""
    subsystem = emulator.target.find(nqn, tgt_name)
    return [listener.describe(subsystem) for listener in subsystem.listeners]


def _find(subsystem: Subsystem, given: dict[str, Any]) -> Listener | None:
    address = _address(given)
    return next((listener for listener in subsystem.listeners if listener.address == address), None)


def _address(given: dict[str, Any]) -> Address:
    try:
        return Address.make(**given)
    except ValueError as wrong:
        raise invalid_parameters() from wrong
