"""Detach and release: the steps of attach, upward."""

from uuid import UUID

from dpucsi.errors import NotFoundError
from dpucsi.opi import frontend, remote
from volume_attacher.dpu import Dpu
from volume_attacher.lost import find_lost
from volume_attacher.plan import check_release, plan_detach
from volume_attacher.record import Record
from volume_attacher.slots import Placement


async def detach(dpu: Dpu, uuid: UUID, boot_id: str) -> Record | None:
    """The record of the attachment that is down now, its slot waiting for the Host's word; None: there is none."""
    await dpu.table.see_boot(boot_id)
    record = dpu.table.get(uuid)
    if record is None:
        return await _detach_lost(dpu, uuid, boot_id)
    going = plan_detach(record, boot_id)
    if going is None:
        return record
    if going != record:
        await dpu.table.write(going)
    await take_down(dpu, going)
    await dpu.table.note_detached(uuid)
    return going


async def _detach_lost(dpu: Dpu, uuid: UUID, boot_id: str) -> Record | None:
    lost = await find_lost(dpu, uuid, boot_id)
    if lost is None:
        return None
    dpu.table.reserve(lost)
    await dpu.table.commit(lost)
    await take_down(dpu, lost)
    await dpu.table.note_detached(uuid)
    return lost


async def take_down(dpu: Dpu, record: Record) -> None:
    """Every step, each of them idempotent; each one ends before the next, which would pull its ground away."""
    spec, function = record.spec, record.slot.function
    await frontend.remove_namespace(dpu.opi, function, spec.uuid)
    if record.placement is Placement.EXCLUSIVE and await _empty(dpu, record):
        await dpu.remove_function(function)
    await remote.disconnect(dpu.opi, spec)
    dpu.paths_missing.discard(spec.uuid)


async def release(dpu: Dpu, uuid: UUID, boot_id: str) -> None:
    """The Host's word: the device is gone. The slot is free when this returns."""
    await dpu.table.see_boot(boot_id)
    record = dpu.table.get(uuid)
    if record is None:
        return
    check_release(record)
    await dpu.table.erase(uuid)


async def _empty(dpu: Dpu, record: Record) -> bool:
    """A function that carries somebody else's disk, for which there is no record, stays."""
    subsystem = await frontend.subsystem_name(dpu.opi, record.slot.function)
    try:
        return not await frontend.list_namespaces(dpu.opi, subsystem)
    except NotFoundError:
        return True
