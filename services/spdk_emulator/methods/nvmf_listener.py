"""nvmf_subsystem_*_listener*."""

from typing import Any

from spdk_emulator.emulator import Emulator
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.subsystem import Listener
from spdk_emulator.rpc.errors import INTERNAL_ERROR, RpcError, invalid_parameters
from spdk_emulator.rpc.params import Json, boolean, may, members, need, one_of, takes, text
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
) -> Json:
    """Who came through it is cut off."""
    subsystem = emulator.target.find(nqn, tgt_name)
    address = _address(listen_address)
    for listener in subsystem.listeners:
        if listener.address == address:
            emulator.target.remove_listener(subsystem, listener)
            return True
    raise invalid_parameters()


@method("nvmf_subsystem_get_listeners", takes(nqn=need(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_subsystem_get_listeners(emulator: Emulator, *, nqn: str, tgt_name: str | None) -> Json:
    """Newest first."""
    subsystem = emulator.target.find(nqn, tgt_name)
    return [listener.describe(subsystem) for listener in subsystem.listeners]


def _address(given: dict[str, Any]) -> Address:
    try:
        return Address.make(**given)
    except ValueError as wrong:
        raise invalid_parameters() from wrong
