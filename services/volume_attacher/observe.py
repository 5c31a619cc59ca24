"""Looking at what the OPI server has, in few calls whatever the number of volumes."""

import asyncio
from uuid import UUID

import structlog

from dpucsi import naming
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.model import HostFunction
from dpucsi.opi import frontend, remote
from dpucsi.opi.client import id_of
from volume_attacher.dpu import Dpu
from volume_attacher.plan import Observed
from volume_attacher.slots import Slot

log = structlog.get_logger(__name__)


async def observe(dpu: Dpu) -> Observed:
    """What is there, and in passing who is in a slot without a record (`Dpu.strangers`)."""
    known = {record.spec.uuid for record in dpu.table.all()}
    controllers, subsystems = await asyncio.gather(
        remote.list_remote_controllers(dpu.opi), frontend.list_subsystems(dpu.opi)
    )
    dpu.keep_only([subsystem.name for subsystem in subsystems])
    functions = {naming.host_subnqn(dpu.uuid, str(function)): function for function in _functions(dpu)}
    ours = [(functions[found.spec.nqn], found.name) for found in subsystems if found.spec.nqn in functions]
    listed = await asyncio.gather(*(frontend.list_namespaces(dpu.opi, name) for _, name in ours))
    namespaces: dict[Slot, UUID] = {}
    for (function, _), found in zip(ours, listed, strict=True):
        namespaces |= _slots(function, found)
    known |= {record.spec.uuid for record in dpu.table.all()}
    _note_strangers(dpu, {slot: uuid for slot, uuid in namespaces.items() if uuid not in known})
    uuids = (_uuid(id_of(controller.name).removeprefix("vol-")) for controller in controllers)
    return Observed(frozenset(uuid for uuid in uuids if uuid), namespaces)


def _functions(dpu: Dpu) -> set[HostFunction]:
    in_use = {record.slot.function for record in dpu.table.all()}
    return {*dpu.functions.shared, *dpu.functions.exclusive, *in_use}


def _slots(function: HostFunction, namespaces: list[pb.NvmeNamespace]) -> dict[Slot, UUID]:
    """A namespace without a readable uuid is somebody's all the same: it shows as the nil uuid."""
    return {Slot(function, found.spec.host_nsid): _uuid(found.spec.uuid) or UUID(int=0) for found in namespaces}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _note_strangers(dpu: Dpu, strangers: dict[Slot, UUID]) -> None:
    for slot in strangers.keys() - dpu.strangers.keys():
        log.warning(
            "a volume without a record is on a function; it is left alone, and its slot not given out",
            volume=str(strangers[slot]),
            slot=str(slot),
        )
    dpu.strangers = strangers
