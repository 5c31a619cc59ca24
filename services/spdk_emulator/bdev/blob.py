"""The bytes of one lvol: a sparse file, which of its clusters are its own, and the blob that the others come from.

The rules are those of SPDK's blobstore (lib/blob/blobstore.c, blob_request_submit_op_single): a write or a write of
zeroes makes a cluster the blob's own, after a copy of the rest of it; an unmap takes an own cluster away again only
where it covers all of it, the blob is thin and has no parent; in a clone an unmapped own cluster reads as zeroes and an
unmapped foreign one stays what it was.

Nothing here waits, so that one operation is over before the next one starts: neither two writes into one new cluster
nor a write and a snapshot can meet. All methods raise OSError; ENOSPC where the store has no cluster left.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from spdk_emulator.bdev.cluster_map import ClusterMap
from spdk_emulator.bdev.file_bytes import data_extents, read_at, write_at, zero_at
from spdk_emulator.bdev.io import Data
from spdk_emulator.bdev.space import Space

_CHUNK = 1 << 20  # bytes copied at once
_ZEROES = bytes(_CHUNK)


class Blob:
    """`own_map` says which clusters are in `file`. A blob without a parent reads its file as it is.

    In a clone's file a foreign cluster is a hole: what an unfinished copy left in it is removed at the next start.
    """

    def __init__(
        self, file: Path, own_map: ClusterMap, clusters: int, space: Space, parent: "Blob | None", *, is_thin: bool
    ) -> None:
        self._file = file
        self._map = own_map
        self._space = space
        self._descriptor: int | None = None
        self._is_closed = False
        self._changes = self._synced = 0
        self.held = own_map.count  # clusters of the store that are counted for this blob
        self.clusters = clusters
        self.parent = parent
        self.is_thin = is_thin
        self.keeps_clusters = False  # while it is inflated, unmaps take no cluster away
        space.use(self.held)

    @property
    def allocated(self) -> int:
        """Its own clusters."""
        return self._map.count

    @property
    def size(self) -> int:
        """Bytes."""
        return self.clusters * self._space.cluster_size

    def read(self, offset: int, length: int) -> bytes:
        """What is its own from its file, the rest from the parent."""
        self._check(offset, length)
        if self.parent is None:
            return read_at(self._open(), offset, length)
        pieces = [
            read_at(self._open(), start, stop - start) if is_own else self._below(start, stop - start)
            for start, stop, is_own in self._runs(offset, length)
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: Data) -> None:
        """Cluster by cluster: what was written before the store was full stays written."""
        self._check(offset, len(data))
        view = memoryview(data)
        self._changes += 1
        for start, stop, is_own in self._runs(offset, len(data)):
            if is_own:
                write_at(self._open(), start, view[start - offset : stop - offset])
                continue
            for first, last in self._by_cluster(start, stop):
                self._allocate(first, last, view[first - offset : last - offset])

    def write_zeroes(self, offset: int, length: int) -> None:
        """As a write: the clusters become the blob's own."""
        self._check(offset, length)
        self._changes += 1
        for start, stop, is_own in self._runs(offset, length):
            if is_own:
                zero_at(self._open(), start, stop - start)
                continue
            for first, last in self._by_cluster(start, stop):
                self._allocate(first, last, None)

    def unmap(self, offset: int, length: int) -> None:
        """Own bytes become zeroes; whole clusters may go back to the store."""
        self._check(offset, length)
        self._changes += 1
        for start, stop, is_own in self._runs(offset, length):
            if is_own or self.parent is None:
                zero_at(self._open(), start, stop - start)
            if is_own and self.parent is None and self.is_thin and not self.keeps_clusters:
                self._release(-(-start // self._space.cluster_size), stop // self._space.cluster_size)

    def owns(self, cluster: int) -> bool:
        """Whether a cluster is its own."""
        return self._map.owns(cluster)

    def make_own(self, cluster: int, moved_from: "Blob | None" = None) -> None:
        """Copies what a cluster reads as. `moved_from` is about to go and lends it its place in the store."""
        if self.owns(cluster):
            return
        self._changes += 1
        start = cluster * self._space.cluster_size
        if moved_from is None:
            self._allocate(start, start, b"")
            return
        self._fill(start, start, b"")
        moved_from.held -= 1
        self.held += 1

    def adopt(self) -> None:
        """Counts what somebody wrote straight into the file of a thin blob without parent."""
        if self.parent is not None or not self.is_thin:
            return
        size = self._space.cluster_size
        for start, stop in data_extents(self._open(), self.size):
            for first, last, is_own in list(self._map.runs(start // size, -(-stop // size))):
                if not is_own:
                    self._map.mark(first, last, is_own=True)
                    self.held += last - first
                    self._space.use(last - first)

    def recover(self) -> None:
        """Removes what a kill left in the file: bytes behind the end, and in a clone those of an unfinished copy."""
        os.truncate(self._open(), self.size)
        if self.parent is not None:
            for start, stop in data_extents(self._open(), self.size):
                for first, last, is_own in self._runs(start, stop - start):
                    if not is_own:
                        zero_at(self._open(), first, last - first)
        self.adopt()
        self._let_go()

    def resize(self, clusters: int) -> None:
        """New bytes are zeroes, or the parent's; those of a thick blob are its own at once."""
        if clusters < self.clusters:
            before = self._map.count
            self._map.cut(clusters)
            self._give(before - self._map.count)
        is_growing_thick = clusters > self.clusters and not self.is_thin
        if is_growing_thick:
            self._take(clusters - self.clusters)
        os.truncate(self._open(), clusters * self._space.cluster_size)
        if is_growing_thick:
            self._map.mark(self.clusters, clusters, is_own=True)
        self.clusters = clusters

    async def flush(self) -> None:
        """Everything written before is durable when it returns, what has become a snapshot's meanwhile too."""
        if self.parent is not None:
            await self.parent.flush()
        if self._synced == self._changes:
            return
        changes, descriptor = self._changes, os.dup(self._open())
        try:
            await asyncio.to_thread(os.fsync, descriptor)
            await asyncio.to_thread(self._map.sync)
        finally:
            os.close(descriptor)
        self._synced = max(self._synced, changes)

    def close(self) -> None:
        """No more I/O; the bytes stay."""
        self._is_closed = True
        self._let_go()

    def discard(self) -> None:
        """Gives its clusters back to the store; the files are the caller's to remove."""
        self.close()
        self._give(self.held)

    def _open(self) -> int:
        if self._is_closed:
            raise OSError(errno.ENODEV, "the lvol is gone")
        if self._descriptor is None:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        return self._descriptor

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _check(self, offset: int, length: int) -> None:
        """An lvol that was shrunk under its user is smaller than its bdev."""
        if offset + length > self.size:
            raise OSError(errno.EINVAL, "beyond the end of the lvol")

    def _runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """The bytes `[offset, offset + length)` as (start, stop, is_own)."""
        size, end = self._space.cluster_size, offset + length
        for first, stop, is_own in self._map.runs(offset // size, -(-end // size)):
            yield max(first * size, offset), min(stop * size, end), is_own

    def _by_cluster(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        size = self._space.cluster_size
        while start < stop:
            end = min((start // size + 1) * size, stop)
            yield start, end
            start = end

    def _below(self, offset: int, length: int) -> bytes:
        """What the parent has there; a clone may have outgrown it."""
        parent = self.parent
        there = 0 if parent is None else min(length, max(parent.size - offset, 0))
        if parent is None or not there:
            return bytes(length)
        data = parent.read(offset, there)
        return data if there == length else data + bytes(length - there)

    def _allocate(self, start: int, stop: int, data: Data | None) -> None:
        self._take(1)
        try:
            self._fill(start, stop, data)
        except OSError:
            self._give(1)
            raise

    def _fill(self, start: int, stop: int, data: Data | None) -> None:
        """Makes the cluster around `[start, stop)` its own, with `data` there (None: zeroes)."""
        size = self._space.cluster_size
        cluster = start // size
        try:
            if self.parent is not None and stop - start < size:
                self._copy(cluster * size, (cluster + 1) * size)
            if data is None:
                zero_at(self._open(), start, stop - start)
            else:
                write_at(self._open(), start, data)
            self._map.mark(cluster, cluster + 1, is_own=True)
        except OSError:
            if self.parent is not None:
                with contextlib.suppress(OSError):
                    zero_at(self._open(), cluster * size, size)
            raise

    def _copy(self, start: int, stop: int) -> None:
        for offset in range(start, stop, _CHUNK):
            data = self._below(offset, min(stop - offset, _CHUNK))
            if data != (_ZEROES if len(data) == _CHUNK else bytes(len(data))):
                write_at(self._open(), offset, data)

    def _release(self, first: int, stop: int) -> None:
        if first < stop:
            self._map.mark(first, stop, is_own=False)
            self._give(stop - first)

    def _take(self, count: int) -> None:
        self._space.take(count)
        self.held += count

    def _give(self, count: int) -> None:
        self._space.give(count)
        self.held -= count
