"""Which clusters of a blob are its own: one byte each, 0 or 1, in memory and in a file beside the blob's bytes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class ClusterMap:
    """The bytes in the file follow those of the cluster, so a kill never leaves half a cluster that counts.

    No file: nothing is the blob's own yet. Clusters behind the last own one need no byte.
    """

    def __init__(self, file: Path, own: bytes = b"") -> None:
        self._file = file
        self._own = bytearray(own)
        self.count = self._own.count(1)

    @classmethod
    def load(cls, file: Path, clusters: int) -> "ClusterMap":
        """As it was saved, without what lies behind `clusters`; raises OSError."""
        if not file.exists():
            return cls(file)
        saved = cls(file, file.read_bytes())
        saved.cut(clusters)
        return saved

    def owns(self, cluster: int) -> bool:
        """Whether the cluster is the blob's own."""
        return cluster < len(self._own) and self._own[cluster] == 1

    def runs(self, first: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """The clusters `[first, stop)` as (start, stop, is_own) of equal neighbours."""
        while first < stop:
            is_own = self.owns(first)
            end = self._own.find(not is_own, first, stop)
            if end < 0:
                end = min(stop, len(self._own)) if is_own else stop
            yield first, end, is_own
            first = end

    def mark(self, first: int, stop: int, *, is_own: bool) -> None:
        """Sets the clusters `[first, stop)` and saves them; raises OSError, and then nothing has changed here."""
        wanted = bytes([is_own]) * (stop - first)
        self._save(first, wanted)
        self._own.extend(bytes(max(stop - len(self._own), 0)))
        self.count += (stop - first) * is_own - self._own.count(1, first, stop)
        self._own[first:stop] = wanted

    def cut(self, clusters: int) -> None:
        """Forgets the clusters from `clusters` on; raises OSError."""
        if clusters < len(self._own):
            del self._own[clusters:]
            self.count = self._own.count(1)
            if self._file.exists():
                os.truncate(self._file, clusters)

    def sync(self) -> None:
        """Makes what was saved durable; blocks. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self._file, os.O_WRONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _save(self, first: int, values: bytes) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, values, first)
        finally:
            os.close(descriptor)
