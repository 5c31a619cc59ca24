"""Detach and release: the steps of attach, upward."""

import asyncio
from contextlib import suppress
from uuid import UUID

import structlog

from dpucsi.errors import FailedPreconditionError, NotFoundError
from dpucsi.opi import frontend, remote
from volume_attacher.dpu import Dpu
from volume_attacher.lost import find_lost
from volume_attacher.plan import check_release, plan_detach
from volume_attacher.record import Record
from volume_attacher.slots import Placement

HEALTHY_S = 1.0  # SPDK removes a namespace without waiting I/O within milliseconds

log = structlog.get_logger(__name__)


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
    await _remove_namespace(dpu, record)
    if record.placement is Placement.EXCLUSIVE and await _empty(dpu, record):
        await dpu.remove_function(function)
    await remote.disconnect(dpu.opi, spec)
    dpu.paths_missing.discard(spec.uuid)


async def _remove_namespace(dpu: Dpu, record: Record) -> None:
    """The Host's disk goes. One whose storage is lost goes with its paths.

    SPDK removes a namespace when its last I/O has ended, and I/O that waits for a path ends with the path (or much
    later, by itself). The Host has let go of this disk, so what waits is nobody's: a probe at its boot, say.
    """
    removing = asyncio.ensure_future(frontend.remove_namespace(dpu.opi, record.slot.function, record.spec.uuid))
    try:
        await asyncio.wait([removing], timeout=HEALTHY_S)
        if not removing.done():
            log.warning("the namespace waits for I/O; its paths are cut", volume=str(record.spec.uuid))
            with suppress(FailedPreconditionError):  # an OPI server that removes paths behind namespaces alone
                await remote.remove_paths(dpu.opi, record.spec)
        await removing
    finally:
        removing.cancel()


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
