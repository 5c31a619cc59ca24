"""nvmf_subsystem_add_ns and _remove_ns."""

import re
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from spdk_emulator.emulator import Emulator
from spdk_emulator.nvmf.subsystem import Namespace, Subsystem, default_nguid
from spdk_emulator.rpc.errors import INVALID_PARAMS, RpcError, invalid_parameters
from spdk_emulator.rpc.params import Json, boolean, may, members, need, takes, text, u32, uuid_text
from spdk_emulator.rpc.table import NVMF, method

_NAMESPACE = members(
    bdev_name=need(text),
    nsid=may(u32, 0),
    nguid=may(text, ""),
    eui64=may(text, ""),
    uuid=may(uuid_text, ""),
    ptpl_file=may(text),
    anagrpid=may(u32, 0),
    no_auto_visible=may(boolean, False),
    hide_metadata=may(boolean, False),
)


@method("nvmf_subsystem_add_ns", takes(nqn=need(text), namespace=need(_NAMESPACE), tgt_name=may(text)), mismatch=NVMF)
def nvmf_subsystem_add_ns(emulator: Emulator, *, nqn: str, namespace: dict[str, Any], tgt_name: str | None) -> Json:
    """The namespace id, chosen where none is given."""
    nguid, eui64 = _hex("nguid", namespace["nguid"], 32), _hex("eui64", namespace["eui64"], 16)
    subsystem = emulator.target.find(nqn, tgt_name)
    nsid = namespace["nsid"] or _free_nsid(subsystem)
    bdev = emulator.bdevs.find(namespace["bdev_name"])
    anagrpid = namespace["anagrpid"] or nsid
    if (
        bdev is None
        or bdev.claim
        or nsid in subsystem.namespaces
        or nsid > subsystem.max_namespaces
        or anagrpid > subsystem.max_namespaces
    ):
        raise invalid_parameters()
    uuid = namespace["uuid"]
    emulator.target.add_namespace(
        subsystem,
        Namespace(
            nsid=nsid,
            bdev=bdev,
            uuid=uuid if uuid and UUID(uuid).int else bdev.uuid,
            nguid=nguid or default_nguid(bdev),
            eui64=eui64,
            anagrpid=anagrpid,
            is_auto_visible=not namespace["no_auto_visible"],
        ),
    )
    return nsid


@method("nvmf_subsystem_remove_ns", takes(nqn=need(text), nsid=need(u32), tgt_name=may(text)), mismatch=NVMF)
def nvmf_subsystem_remove_ns(emulator: Emulator, *, nqn: str, nsid: int, tgt_name: str | None) -> Awaitable[Json]:
    """Under whoever uses it; the answer comes when none of its commands is running."""
    subsystem = emulator.target.find(nqn, tgt_name)
    emulator.target.remove_namespace(subsystem, nsid)
    return _settle(emulator, subsystem, nsid)


async def _settle(emulator: Emulator, subsystem: Subsystem, nsid: int) -> Json:
    await emulator.target.settled(subsystem, nsid)
    return True


@method(
    "nvmf_subsystem_set_ns_ana_group",
    takes(nqn=need(text), nsid=need(u32), anagrpid=need(u32), tgt_name=may(text), transit_anagrpid=may(u32)),
    mismatch=NVMF,
)
def nvmf_subsystem_set_ns_ana_group(
    emulator: Emulator, *, nqn: str, nsid: int, anagrpid: int, tgt_name: str | None, transit_anagrpid: int | None
) -> Json:
    """Under whoever uses it."""
    subsystem = emulator.target.find(nqn, tgt_name)
    is_possible = subsystem.ana_reporting and nsid in subsystem.namespaces
    if not is_possible or not 1 <= anagrpid <= subsystem.max_namespaces:
        raise invalid_parameters()
    emulator.target.set_ana_group(subsystem, nsid, anagrpid)
    return True


def _free_nsid(subsystem: Subsystem) -> int:
    free = (nsid for nsid in range(1, subsystem.max_namespaces + 1) if nsid not in subsystem.namespaces)
    return next(free, subsystem.max_namespaces + 1)


def _hex(name: str, digits: str, length: int) -> str:
    """Upper case; "" for none and for zero. Raises RpcError."""
    if not digits:
        return ""
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{length}}}", digits):
        raise RpcError(INVALID_PARAMS, f"Invalid {name}")
    return digits.upper() if digits.strip("0") else ""
