"""Making, resizing, renaming and deleting lvols. Each is refused at once, and done when its answer is awaited."""

import asyncio
import errno
import os
from collections.abc import Awaitable
from dataclasses import replace
from uuid import uuid4

from spdk_emulator.bdev.lvol import Lvol, LvolRecord
from spdk_emulator.bdev.lvol_store import LvolStore
from spdk_emulator.rpc.errors import INTERNAL_ERROR, RpcError, refused, refused_as_params
from spdk_emulator.rpc.params import Json

CLUSTERS_MAX = 1 << 32  # a blob's cluster map beyond this cannot be allocated


def create(store: LvolStore, name: str, size: int, *, is_thin: bool) -> Awaitable[Json]:
    """A new lvol of `size` bytes; the answer is its uuid."""
    store.check_new_name(name, refused)
    clusters = _clusters(store, size)
    if not is_thin and clusters > store.space.free:
        raise refused_as_params(errno.ENOSPC)
    record = LvolRecord(str(uuid4()), name, clusters, is_thin)
    lvol = Lvol(record, store.blob(record))
    return store.change(lambda: store.make(lvol), name=name)


def resize(store: LvolStore, lvol: Lvol, size: int) -> Awaitable[Json]:
    """Grows, or shrinks without a word."""
    if lvol.is_read_only:
        raise refused_as_params(errno.EPERM)
    clusters = _clusters(store, size)
    return store.change(lambda: _resize(store, lvol, clusters), lvol)


async def _resize(store: LvolStore, lvol: Lvol, clusters: int) -> Json:
    """A blob grows before the commit and shrinks after it, so the committed size is always there."""
    before = lvol.blob.clusters
    record = replace(lvol.record, clusters=clusters)
    if clusters > before:
        lvol.blob.resize(clusters)
    try:
        await store.commit(record)
    except OSError:
        lvol.blob.resize(before)
        raise
    lvol.record = record
    lvol.blob.resize(clusters)
    if not store.resize_bdev(lvol):
        # As recorded: the lvol is smaller by now, only its bdev, which is in use, keeps its size.
        raise refused_as_params(errno.EBUSY)
    return True


def rename(store: LvolStore, lvol: Lvol, name: str) -> Awaitable[Json]:
    """As recorded: the alias of the bdev has changed already when a read-only lvol refuses."""
    store.set_alias(lvol, name)
    if lvol.is_read_only:
        raise refused_as_params(errno.EPERM)
    if any(known.name == name for known in store.lvols.values()):
        raise refused_as_params(errno.EEXIST)
    return store.change(lambda: _replace(store, lvol, replace(lvol.record, name=name)), lvol, name=name)


def set_read_only(store: LvolStore, lvol: Lvol) -> Awaitable[Json]:
    """At once; as in SPDK its bdev shows it after the next load of the store only."""
    return store.change(lambda: _replace(store, lvol, replace(lvol.record, is_read_only=True)), lvol)


async def _replace(store: LvolStore, lvol: Lvol, record: LvolRecord) -> Json:
    await store.commit(record)
    lvol.record = record
    return True


def delete(store: LvolStore, lvol: Lvol) -> Awaitable[Json]:
    """The bdev goes at once, under whoever uses it; the only clone of a snapshot gets what it reads there."""
    if len(lvol.clones) > 1:
        raise _refused(errno.EPERM)
    heir = lvol.clones[0] if lvol.clones else None
    deletion = store.change(
        lambda: _delete(store, lvol, heir), lvol, *([heir] if heir else []), name=lvol.name, refusal=_refused
    )
    store.hide(lvol)
    return deletion


async def _delete(store: LvolStore, lvol: Lvol, heir: Lvol | None) -> Json:
    if heir is None:
        await store.commit(gone=lvol.uuid)
    else:
        await _hand_over(lvol, heir)
        record = replace(heir.record, parent=lvol.record.parent)
        await store.commit(record, gone=lvol.uuid)
        heir.record = record
        heir.hang_on(lvol.parent)
    lvol.hang_on(None)
    store.lvols.pop(lvol.uuid, None)
    lvol.blob.discard()
    await asyncio.to_thread(store.files.drop, lvol.record.blob_name)
    return True


async def _hand_over(snapshot: Lvol, heir: Lvol) -> None:
    """A cluster that is copied before the commit reads as before, so an unfinished copy is no harm."""
    for cluster in range(min(snapshot.blob.clusters, heir.blob.clusters)):
        if snapshot.blob.owns(cluster) and not heir.blob.owns(cluster):
            heir.blob.make_own(cluster, moved_from=snapshot.blob)
            await asyncio.sleep(0)  # the other I/O goes on between two clusters


def _clusters(store: LvolStore, size: int) -> int:
    clusters = -(-size // store.cluster_size)
    if clusters >= CLUSTERS_MAX:
        raise refused_as_params(errno.ENOMEM)
    return clusters


def _refused(number: int) -> RpcError:
    """How a deletion refuses."""
    return RpcError(INTERNAL_ERROR, os.strerror(number))
