"""Attach: the ordered steps from a target subsystem to a namespace on a PCIe function."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from dpucsi.errors import DpucsiError, NotFoundError, UnavailableError
from dpucsi.model import AttachSpec
from dpucsi.opi import OpiClient, frontend, remote
from volume_attacher.detach import take_down
from volume_attacher.dpu import Dpu
from volume_attacher.plan import plan_attach
from volume_attacher.record import Record, State
from volume_attacher.slots import Placement, Slot, choose

log = structlog.get_logger(__name__)
FirstT = TypeVar("FirstT")
SecondT = TypeVar("SecondT")


async def attach(dpu: Dpu, spec: AttachSpec, placement: Placement, boot_id: str) -> Record:
    """The attachment's record, once its namespace is on its function.

    The first call makes the record before anything else; any later one resumes, whatever was done by then.
    """
    await dpu.table.see_boot(boot_id)
    record = dpu.table.get(spec.uuid)
    if record is None:
        first = Record(spec, placement, _slot(dpu, spec, placement), State.ATTACHING, boot_id)
        dpu.table.reserve(first)
        return await _attach_first(dpu, first)
    resumed = plan_attach(record, spec, placement, boot_id)
    if resumed != record:
        await dpu.table.write(resumed)
    await bring_up(dpu, resumed)
    return resumed


async def bring_up(dpu: Dpu, record: Record) -> None:
    """Every step, each of them idempotent."""
    await show(dpu, record, await reach(dpu, record))


@dataclass(frozen=True)
class Reached:
    """What the last step joins: OPI names of the volume behind its paths and of the subsystem on the function."""

    volume: str
    subsystem: str


async def reach(dpu: Dpu, record: Record) -> Reached:
    """All but the last step: nothing of it is a disk for the Host yet."""
    with lost_is_temporary(dpu):
        volume, subsystem = await together(
            connect(dpu, record.spec),
            dpu.ensure_function(record.slot.function),
        )
    return Reached(volume, subsystem)


async def connect(dpu: Dpu, spec: AttachSpec) -> str:
    """The network side; the OPI name of the remote namespace that shows the volume's uuid."""
    controller = await remote.ensure_remote_controller(dpu.opi, spec.uuid)
    if await _connect_paths(dpu.opi, controller, spec):
        dpu.paths_missing.discard(spec.uuid)
    else:
        dpu.paths_missing.add(spec.uuid)
    return await remote.wait_remote_namespace(dpu.opi, controller, spec.uuid)


async def show(dpu: Dpu, record: Record, reached: Reached) -> None:
    """The last step: the Host sees the disk."""
    uuid, nsid = record.spec.uuid, record.slot.nsid
    with lost_is_temporary(dpu):
        await frontend.ensure_namespace(dpu.opi, reached.subsystem, uuid, nsid, reached.volume)
    dpu.table.note_attached(uuid)


@contextmanager
def lost_is_temporary(dpu: Dpu) -> Iterator[None]:
    """What one step made and the next does not find was lost by the OPI server: the same call makes it again."""
    try:
        yield
    except NotFoundError as lost:
        dpu.forget_functions()
        raise UnavailableError(
            f"the OPI server lost what was just made ({lost}); the same call again resumes"
        ) from lost


async def together(first: Awaitable[FirstT], second: Awaitable[SecondT]) -> tuple[FirstT, SecondT]:
    """Both results. Where one fails the other still ends before its error is raised: nothing runs on unseen."""
    one, two = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(two, BaseException):
        raise two
    return one, two


async def _attach_first(dpu: Dpu, record: Record) -> Record:
    uuid = record.spec.uuid
    # Reading has no side effect and takes no longer than the commit that it runs beside.
    was_there, committed = await asyncio.gather(
        remote.remote_controller_exists(dpu.opi, uuid), dpu.table.commit(record), return_exceptions=True
    )
    if isinstance(committed, BaseException):
        raise committed
    if isinstance(was_there, BaseException):
        await dpu.table.erase(uuid)  # nothing was begun
        raise was_there
    try:
        reached = await reach(dpu, record)
    except DpucsiError as refused:
        if not refused.retry_helps and not was_there:
            await _undo(dpu, record, refused)
        raise
    await show(dpu, record, reached)
    return record


async def _undo(dpu: Dpu, record: Record, refused: DpucsiError) -> None:
    """Removes what this first call made; the Host never saw a disk in the slot, so it is free at once."""
    try:
        await take_down(dpu, record)
    except DpucsiError as failed:
        raise UnavailableError(f"{refused}; undoing it failed too ({failed}); Detach, or attach again") from refused
    await dpu.table.erase(record.spec.uuid)


async def _connect_paths(opi: OpiClient, controller: str, spec: AttachSpec) -> bool:
    """False: some path is missing, to be tried again later. None at all, or one that differs, is an error."""
    outcomes = await asyncio.gather(
        *(remote.ensure_path(opi, controller, spec, path) for path in spec.paths), return_exceptions=True
    )
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in failures:
        if len(failures) == len(outcomes) or not (isinstance(failure, DpucsiError) and failure.retry_helps):
            raise failure
        log.warning("path not connected, will be tried again", volume=str(spec.uuid), error=str(failure))
    return not failures


def _slot(dpu: Dpu, spec: AttachSpec, placement: Placement) -> Slot:
    """A free slot; the one that the volume is seen in where only the record was lost."""
    taken = dpu.table.taken()
    for slot in dpu.functions.slots(placement):
        if dpu.strangers.get(slot) == spec.uuid and slot not in taken:
            return slot
    return choose(dpu.functions, placement, taken | dpu.strangers.keys())
