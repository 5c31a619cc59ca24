"""One lvol store with its lvols: names, sizes, what is allocated, and the order of making and deleting."""

import asyncio
import errno
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from spdk_emulator.bdev.bdev import LVOL, Bdev
from spdk_emulator.bdev.layout import max_growable_size, total_data_clusters
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.bdev.store_files import StoreFiles
from spdk_emulator.rpc.errors import refused, refused_as_params
from spdk_emulator.rpc.params import Json

NAME_MAX = 63  # bytes; SPDK_LVOL_NAME_MAX without the final zero
CLUSTERS_MAX = 1 << 32  # a blob's cluster map beyond this cannot be allocated


@dataclass
class Lvol:
    """One logical volume."""

    uuid: str
    name: str
    clusters: int
    is_thin: bool


class LvolStore:
    """A store on `base`. Everything that may be refused is refused before the first await."""

    def __init__(self, bdevs: Bdevs, base: Bdev, files: StoreFiles, settings: dict[str, Any]) -> None:
        self._bdevs = bdevs
        self._files = files
        self.base = base
        self.uuid: str = settings["uuid"]
        self.name: str = settings["name"]
        self.cluster_size: int = settings["cluster_size"]
        self.md_ratio: int = settings["md_ratio"]
        self.lvols: dict[str, Lvol] = {}
        self._bdev_of: dict[str, Bdev] = {}
        self._taken: set[str] = set()  # names of lvols that are being made or deleted

    def open(self, saved: list[dict[str, Any]]) -> None:
        """Brings the lvols of a saved store back."""
        self._files.tidy({entry["uuid"] for entry in saved})
        for entry in saved:
            lvol = Lvol(**entry)
            self._files.allocate(lvol.uuid, lvol.clusters * self.cluster_size)
            self._show(lvol)

    def close(self) -> None:
        """Takes the lvols' bdevs away; their bytes stay."""
        for bdev in list(self._bdev_of.values()):
            self._bdevs.unregister(bdev)
        self._bdev_of.clear()
        self.lvols.clear()

    def metadata(self) -> dict[str, Json]:
        """What store.json holds."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "cluster_size": self.cluster_size,
            "md_ratio": self.md_ratio,
            "lvols": [asdict(lvol) for lvol in self.lvols.values()],
        }

    @property
    def free_clusters(self) -> int:
        """Clusters that nothing is stored in."""
        return max(self.total_clusters - sum(self.allocated(lvol) for lvol in self.lvols.values()), 0)

    @property
    def total_clusters(self) -> int:
        """Clusters for data."""
        return total_data_clusters(self.base.size, self.cluster_size, self.md_ratio)

    def allocated(self, lvol: Lvol) -> int:
        """Clusters that an lvol occupies; a thin one what was written, as far as the file system tells."""
        if not lvol.is_thin:
            return lvol.clusters
        try:
            occupied = self._files.bytes_of(lvol.uuid).stat().st_blocks * 512
        except FileNotFoundError:
            return 0
        return min(-(-occupied // self.cluster_size), lvol.clusters)

    def lvol_of(self, bdev: Bdev) -> Lvol | None:
        """The lvol behind a bdev."""
        return self.lvols.get(bdev.name)

    async def create(self, lvol: Lvol) -> Json:
        """Makes what `plan` planned."""
        try:
            await asyncio.to_thread(self._files.allocate, lvol.uuid, lvol.clusters * self.cluster_size)
            self.lvols[lvol.uuid] = lvol
            await self._files.save(self.metadata())
            self._show(lvol)
        finally:
            self._taken.discard(lvol.name)
        return lvol.uuid

    def plan(self, name: str, size: int, *, is_thin: bool) -> Lvol:
        """Reserves a name; raises what SPDK would answer."""
        if not name or len(name.encode()) > NAME_MAX:
            raise refused(errno.EINVAL)
        if name in self._taken or any(lvol.name == name for lvol in self.lvols.values()):
            raise refused(errno.EEXIST)
        clusters = -(-size // self.cluster_size)
        if clusters >= CLUSTERS_MAX:
            raise refused_as_params(errno.ENOMEM)
        if not is_thin and clusters > self.free_clusters:
            raise refused_as_params(errno.ENOSPC)
        self._taken.add(name)
        return Lvol(str(uuid4()), name, clusters, is_thin)

    async def delete(self, lvol: Lvol) -> Json:
        """Deletes the bytes; whatever was exported vanished when `begin_delete` was called."""
        try:
            self.lvols.pop(lvol.uuid, None)
            await self._files.save(self.metadata())
            await asyncio.to_thread(self._files.drop, lvol.uuid)
        finally:
            self._taken.discard(lvol.name)
        return True

    def begin_delete(self, lvol: Lvol) -> None:
        """The bdev goes at once, under whoever uses it; the name stays taken until the end."""
        self._taken.add(lvol.name)
        bdev = self._bdev_of.pop(lvol.uuid, None)
        if bdev is not None:
            self._bdevs.unregister(bdev)

    def begin_resize(self, lvol: Lvol, size: int) -> int:
        """The new number of clusters; raises what SPDK would answer."""
        clusters = -(-size // self.cluster_size)
        if clusters >= CLUSTERS_MAX:
            raise refused_as_params(errno.ENOMEM)
        if not lvol.is_thin and clusters - lvol.clusters > self.free_clusters:
            raise refused_as_params(errno.ENOSPC)
        if clusters < lvol.clusters and self._bdev_of[lvol.uuid].claim:
            raise refused_as_params(errno.EBUSY)
        return clusters

    async def resize(self, lvol: Lvol, clusters: int) -> Json:
        """Grows, or shrinks without a word."""
        lvol.clusters = clusters
        await asyncio.to_thread(self._files.allocate, lvol.uuid, clusters * self.cluster_size)
        await self._files.save(self.metadata())
        bdev = self._bdev_of.get(lvol.uuid)
        if bdev is not None:
            self._bdevs.resize(bdev, clusters * self.cluster_size // bdev.block_size)
        return True

    def describe(self) -> dict[str, Json]:
        """As in bdev_lvol_get_lvstores."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "base_bdev": self.base.name,
            "total_data_clusters": self.total_clusters,
            "free_clusters": self.free_clusters,
            "block_size": self.base.block_size,
            "cluster_size": self.cluster_size,
            "max_growable_size": max_growable_size(self.base.size, self.cluster_size),
        }

    def describe_lvol(self, lvol: Lvol) -> dict[str, Json]:
        """As in bdev_lvol_get_lvols."""
        return {
            "alias": f"{self.name}/{lvol.name}",
            "uuid": lvol.uuid,
            "name": lvol.name,
            "is_thin_provisioned": lvol.is_thin,
            "is_snapshot": False,
            "is_clone": False,
            "is_esnap_clone": False,
            "is_degraded": False,
            "num_allocated_clusters": self.allocated(lvol),
            "lvs": {"name": self.name, "uuid": self.uuid},
        }

    def _show(self, lvol: Lvol) -> None:
        self.lvols[lvol.uuid] = lvol
        bdev = Bdev(
            name=lvol.uuid,
            aliases=[f"{self.name}/{lvol.name}"],
            uuid=lvol.uuid,
            kind=LVOL,
            block_size=self.base.block_size,
            num_blocks=lvol.clusters * self.cluster_size // self.base.block_size,
            path=str(self._files.bytes_of(lvol.uuid)),
            details=lambda: {"lvol": self._details(lvol)},
        )
        self._bdev_of[lvol.uuid] = bdev
        self._bdevs.register(bdev)

    def _details(self, lvol: Lvol) -> dict[str, Json]:
        return {
            "lvol_store_uuid": self.uuid,
            "base_bdev": self.base.name,
            "thin_provision": lvol.is_thin,
            "num_allocated_clusters": self.allocated(lvol),
            "snapshot": False,
            "clone": False,
            "esnap_clone": False,
        }
