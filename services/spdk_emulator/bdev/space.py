"""The clusters of one lvol store: how many there are, and how many are in use."""

import errno
from collections.abc import Callable


class Space:
    """`total` is asked each time: a base bdev may grow. `cluster_size` in bytes."""

    def __init__(self, total: Callable[[], int], cluster_size: int) -> None:
        self._total = total
        self._used = 0
        self.cluster_size = cluster_size

    @property
    def free(self) -> int:
        """Clusters that nothing is stored in."""
        return max(self._total() - self._used, 0)

    def take(self, count: int) -> None:
        """Raises OSError (ENOSPC) where fewer are free."""
        if count > self.free:
            raise OSError(errno.ENOSPC, "the lvol store is full")
        self._used += count

    def use(self, count: int) -> None:
        """Counts clusters that are in use already."""
        self._used += count

    def give(self, count: int) -> None:
        """Back to the store."""
        self._used -= count
