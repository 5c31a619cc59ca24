"""nvmf_subsystem_*_host: who may connect."""

from collections.abc import Awaitable

from spdk_emulator.emulator import Emulator
from spdk_emulator.nvmf.nqn import is_valid_nqn
from spdk_emulator.nvmf.subsystem import Subsystem
from spdk_emulator.rpc.errors import internal_error
from spdk_emulator.rpc.params import Json, boolean, may, need, takes, text, u64
from spdk_emulator.rpc.table import NVMF, method


@method(
    "nvmf_subsystem_add_host",
    takes(
        nqn=need(text),
        host=need(text),
        tgt_name=may(text),
        psk=may(text),
        dhchap_key=may(text),
        dhchap_ctrlr_key=may(text),
    ),
    mismatch=NVMF,
)
def nvmf_subsystem_add_host(
    emulator: Emulator, *, nqn: str, host: str, tgt_name: str | None, **keys: str | None
) -> Json:
    """No key is ever there: the keyring is not offered."""
    subsystem = emulator.target.find(nqn, tgt_name)
    if host in subsystem.hosts or not is_valid_nqn(host) or any(keys.values()):
        raise internal_error()
    subsystem.hosts.append(host)
    emulator.target.discovery.changed()
    return True


@method(
    "nvmf_subsystem_remove_host",
    takes(
        nqn=need(text),
        host=need(text),
        tgt_name=may(text),
        timeout_ms=may(u64),
    ),
    mismatch=NVMF,
)
def nvmf_subsystem_remove_host(
    emulator: Emulator, *, nqn: str, host: str, tgt_name: str | None, timeout_ms: int | None
) -> Awaitable[Json]:
    """The fence: its controllers end at once, and the answer comes when none of their commands is running."""
    subsystem = emulator.target.find(nqn, tgt_name)
    if host not in subsystem.hosts:
        raise internal_error()
    subsystem.hosts.remove(host)
    emulator.target.discovery.changed()
    return _cut(emulator, subsystem, host)


async def _cut(emulator: Emulator, subsystem: Subsystem, host: str) -> Json:
    await emulator.target.cut(subsystem, lambda controller: controller.host.hostnqn == host)
    return True


@method(
    "nvmf_subsystem_allow_any_host",
    takes(nqn=need(text), allow_any_host=need(boolean), tgt_name=may(text)),
    mismatch=NVMF,
)
def nvmf_subsystem_allow_any_host(emulator: Emulator, *, nqn: str, allow_any_host: bool, tgt_name: str | None) -> Json:
    """Who is connected stays connected, allowed or not."""
    emulator.target.find(nqn, tgt_name).allow_any_host = allow_any_host
    return True
