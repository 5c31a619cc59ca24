"""Snapshots, clones, and how a clone becomes free of its snapshot.

Each of them commits first and changes the live lvols after it, without waiting in between: I/O that comes meanwhile
still goes to the blobs of before, which the committed state reads as well. Clusters that were copied before a commit
hold what their parent's hold, so an unfinished copy is no harm.
"""

import asyncio
import errno
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from uuid import uuid4

from spdk_emulator.bdev.lvol import Lvol, LvolRecord
from spdk_emulator.bdev.lvol_store import LvolStore
from spdk_emulator.rpc.errors import refused_as_params
from spdk_emulator.rpc.params import Json


def snapshot(store: LvolStore, lvol: Lvol, name: str) -> Awaitable[Json]:
    """The snapshot takes over the lvol's blob, the lvol goes on as its clone; the answer is the snapshot's uuid."""
    store.check_new_name(name, refused_as_params)
    if lvol.is_read_only:
        raise refused_as_params(errno.EINVAL)
    return store.change(lambda: _snapshot(store, lvol, name), lvol, name=name)


async def _snapshot(store: LvolStore, lvol: Lvol, name: str) -> Json:
    taken = replace(lvol.record, uuid=str(uuid4()), name=name, blob=lvol.record.blob_name, is_read_only=True)
    record = replace(lvol.record, is_thin=True, blob=str(uuid4()), parent=taken.uuid)
    await asyncio.to_thread(store.files.create, record.blob, lvol.blob.size)
    try:
        lvol.blob.adopt()
        await store.commit(taken, record)
    except OSError:
        store.files.drop(record.blob)
        raise
    grandparent, old_blob = lvol.parent, lvol.blob
    frozen = Lvol(taken, old_blob)
    lvol.hang_on(None)
    frozen.hang_on(grandparent)
    lvol.record, lvol.blob = record, store.blob(record)
    lvol.hang_on(frozen)
    store.add(frozen)
    return frozen.uuid


def clone(store: LvolStore, origin: Lvol, name: str) -> Awaitable[Json]:
    """A new lvol that reads as the snapshot `origin`; the answer is its uuid."""
    store.check_new_name(name, refused_as_params)
    if not origin.is_read_only:
        raise refused_as_params(errno.EINVAL)
    return store.change(lambda: _clone(store, origin, name), origin, name=name)


async def _clone(store: LvolStore, origin: Lvol, name: str) -> Json:
    record = LvolRecord(str(uuid4()), name, origin.record.clusters, is_thin=True, parent=origin.uuid)
    made = Lvol(record, store.blob(record))
    made.hang_on(origin)
    try:
        return await store.make(made)
    except OSError:
        made.hang_on(None)
        raise


def inflate(store: LvolStore, lvol: Lvol) -> Awaitable[Json]:
    """Every cluster becomes the lvol's own: it is thick and no clone any more."""
    if lvol.record.is_thin:
        _check_space(store, lvol, lvol.blob.clusters - lvol.blob.allocated)
    return store.change(lambda: _inflate(store, lvol), lvol)


async def _inflate(store: LvolStore, lvol: Lvol) -> Json:
    if not lvol.record.is_thin:
        return True
    record = replace(lvol.record, is_thin=False, parent="")
    lvol.blob.keeps_clusters = True
    try:
        await _copy(lvol, range(lvol.blob.clusters))
        await store.commit(record)
    finally:
        lvol.blob.keeps_clusters = False
    lvol.record = record
    lvol.blob.is_thin = False
    lvol.hang_on(None)
    return True


def decouple(store: LvolStore, lvol: Lvol) -> Awaitable[Json]:
    """What its snapshot has becomes the lvol's own, and the snapshot's own snapshot its parent."""
    parent = lvol.parent
    if parent is None:
        raise refused_as_params(errno.EBUSY if lvol.is_busy else errno.EINVAL)
    _check_space(store, lvol, len(_read_from(lvol, parent)))
    # The parent too: it must not get another parent meanwhile.
    return store.change(lambda: _decouple(store, lvol, parent), lvol, parent)


async def _decouple(store: LvolStore, lvol: Lvol, parent: Lvol) -> Json:
    await _copy(lvol, _read_from(lvol, parent))
    record = replace(lvol.record, parent=parent.record.parent)
    await store.commit(record)
    lvol.record = record
    lvol.hang_on(parent.parent)
    return True


def _read_from(lvol: Lvol, parent: Lvol) -> list[int]:
    """The clusters that a clone reads from its parent itself, and not from below it."""
    shared = range(min(lvol.blob.clusters, parent.blob.clusters))
    return [cluster for cluster in shared if parent.blob.owns(cluster) and not lvol.blob.owns(cluster)]


async def _copy(lvol: Lvol, clusters: Iterable[int]) -> None:
    for cluster in clusters:
        if not lvol.blob.owns(cluster):
            lvol.blob.make_own(cluster)
            await asyncio.sleep(0)  # the other I/O goes on between two clusters


def _check_space(store: LvolStore, lvol: Lvol, wanted: int) -> None:
    if not lvol.is_busy and wanted > store.space.free:
        raise refused_as_params(errno.ENOSPC)
