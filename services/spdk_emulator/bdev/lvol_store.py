"""One lvol store: its lvols, names and clusters, and the one moment at which a change of it happens."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

from spdk_emulator.bdev.bdev import LVOL, LVOL_READ_ONLY, Bdev
from spdk_emulator.bdev.blob import Blob
from spdk_emulator.bdev.cluster_map import ClusterMap
from spdk_emulator.bdev.layout import max_growable_size, total_data_clusters
from spdk_emulator.bdev.lvol import Lvol, LvolIo, LvolRecord
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.bdev.space import Space
from spdk_emulator.bdev.store_files import StoreFiles
from spdk_emulator.rpc.errors import RpcError, refused_as_params
from spdk_emulator.rpc.params import Json

NAME_MAX = 63  # bytes; SPDK_LVOL_NAME_MAX without the final zero
Refusal = Callable[[int], RpcError]


class LvolStore:
    """A store on `base`. What may be refused is refused when a method is called, not when its answer is awaited."""

    def __init__(self, bdevs: Bdevs, base: Bdev, files: StoreFiles, settings: dict[str, Any]) -> None:
        self._bdevs = bdevs
        self._records: dict[str, LvolRecord] = {}
        self._taken: set[str] = set()  # names of lvols that are being made or deleted
        self._is_closed = False
        self.files = files
        self.base = base
        self.uuid: str = settings["uuid"]
        self.name: str = settings["name"]
        self.cluster_size: int = settings["cluster_size"]
        self.md_ratio: int = settings["md_ratio"]
        self.lvols: dict[str, Lvol] = {}
        self.space = Space(lambda: self.total_clusters, self.cluster_size)

    @property
    def total_clusters(self) -> int:
        """Clusters for data."""
        return total_data_clusters(self.base.size, self.cluster_size, self.md_ratio)

    def open(self, saved: list[dict[str, Any]]) -> None:
        """Brings the lvols of a saved store back, and removes what a kill left unfinished."""
        self._records = {entry["uuid"]: LvolRecord(**entry) for entry in saved}
        self.files.tidy({record.blob_name for record in self._records.values()})
        for record in self._records.values():
            own_map = ClusterMap.load(self.files.map_of(record.blob_name), record.clusters)
            blob = self.blob(record, own_map if record.is_thin else None)
            self.lvols[record.uuid] = Lvol(record, blob)
        for lvol in self.lvols.values():
            if lvol.record.parent:
                lvol.hang_on(self.lvols[lvol.record.parent])
        for lvol in self.lvols.values():
            lvol.blob.recover()
            self._show(lvol)

    def close(self) -> None:
        """Takes the lvols' bdevs away; their bytes stay."""
        self._is_closed = True
        for lvol in self.lvols.values():
            self.hide(lvol)
            lvol.blob.close()
        self.lvols.clear()

    def metadata(self) -> dict[str, Json]:
        """What store.json holds."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "cluster_size": self.cluster_size,
            "md_ratio": self.md_ratio,
            "lvols": [record.saved() for record in self._records.values()],
        }

    async def commit(self, *changed: LvolRecord, gone: str = "") -> None:
        """The change has happened when this returns, and has not when it raises OSError. The live lvols follow it."""
        if self._is_closed:
            raise OSError(errno.ENODEV, "the store is closed")
        before = {uuid: self._records.get(uuid) for uuid in (*(record.uuid for record in changed), gone)}
        self._records |= {record.uuid: record for record in changed}
        self._records.pop(gone, None)
        try:
            await self.files.save(self.metadata)
        except OSError:
            for uuid, record in before.items():
                self._records.pop(uuid, None)
                if record is not None:
                    self._records[uuid] = record
            raise

    def change(
        self,
        work: Callable[[], Awaitable[Json]],
        *lvols: Lvol,
        name: str = "",
        refusal: Refusal = refused_as_params,
    ) -> Awaitable[Json]:
        """Runs `work` with these lvols, and a name, for itself; raises "Device or resource busy" at once."""
        if any(lvol.is_busy for lvol in lvols):
            raise refusal(errno.EBUSY)
        for lvol in lvols:
            lvol.is_busy = True
        self._taken.add(name)
        return self._run(work, lvols, name, refusal)

    async def _run(
        self, work: Callable[[], Awaitable[Json]], lvols: tuple[Lvol, ...], name: str, refusal: Refusal
    ) -> Json:
        try:
            return await work()
        except OSError as wrong:
            raise refusal(wrong.errno or errno.EIO) from wrong
        finally:
            self._taken.discard(name)
            for lvol in lvols:
                lvol.is_busy = False

    def check_new_name(self, name: str, refusal: Refusal) -> None:
        """Raises what SPDK would answer to a name."""
        if not name or len(name.encode()) > NAME_MAX:
            raise refusal(errno.EINVAL)
        if name in self._taken or any(lvol.name == name for lvol in self.lvols.values()):
            raise refusal(errno.EEXIST)

    async def make(self, lvol: Lvol) -> Json:
        """Makes the files, commits and shows an lvol that nobody knows yet."""
        try:
            size = lvol.blob.size
            await asyncio.to_thread(self.files.create, lvol.record.blob_name, size)
            await self.commit(lvol.record)
        except OSError:
            lvol.blob.discard()
            self.files.drop(lvol.record.blob_name)
            raise
        self.add(lvol)
        return lvol.uuid

    def add(self, lvol: Lvol) -> None:
        """A committed lvol goes live."""
        self.lvols[lvol.uuid] = lvol
        self._show(lvol)

    def blob(self, record: LvolRecord, own_map: ClusterMap | None = None, parent: Blob | None = None) -> Blob:
        """The blob of a record: of a thick lvol everything is its own, of a thin one what `own_map` says."""
        file, map_file = self.files.bytes_of(record.blob_name), self.files.map_of(record.blob_name)
        if own_map is None:
            own_map = ClusterMap(map_file, b"" if record.is_thin else b"\1" * record.clusters)
        return Blob(file, own_map, record.clusters, self.space, parent, is_thin=record.is_thin)

    def describe(self) -> dict[str, Json]:
        """As in bdev_lvol_get_lvstores."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "base_bdev": self.base.name,
            "total_data_clusters": self.total_clusters,
            "free_clusters": self.space.free,
            "block_size": self.base.block_size,
            "cluster_size": self.cluster_size,
            "max_growable_size": max_growable_size(self.base.size, self.cluster_size),
        }

    def describe_lvols(self) -> list[Json]:
        """As in bdev_lvol_get_lvols."""
        return [lvol.describe(self.name, self.uuid) for lvol in self.lvols.values()]

    def resize_bdev(self, lvol: Lvol) -> bool:
        """The bdev gets the size of the blob; False: one that is in use does not become smaller."""
        if lvol.bdev is None:
            return True
        num_blocks = lvol.blob.size // lvol.bdev.block_size
        if num_blocks < lvol.bdev.num_blocks and lvol.bdev.claim:
            return False
        self._bdevs.resize(lvol.bdev, num_blocks)
        return True

    def set_alias(self, lvol: Lvol, name: str) -> None:
        """Its bdev is found by this name from now on; raises "File exists" where another one is."""
        alias = f"{self.name}/{name}"
        if lvol.bdev is None or self._bdevs.find(alias) is not None:
            raise refused_as_params(errno.EEXIST)
        lvol.bdev.aliases = [alias]

    def _show(self, lvol: Lvol) -> None:
        lvol.bdev = Bdev(
            name=lvol.uuid,
            aliases=[f"{self.name}/{lvol.name}"],
            uuid=lvol.uuid,
            kind=LVOL_READ_ONLY if lvol.is_read_only else LVOL,
            block_size=self.base.block_size,
            num_blocks=lvol.blob.size // self.base.block_size,
            io=LvolIo(lvol),
            details=lambda: lvol.details(self.uuid, self.base.name),
        )
        self._bdevs.register(lvol.bdev)

    def hide(self, lvol: Lvol) -> None:
        """The bdev goes, under whoever uses it."""
        bdev, lvol.bdev = lvol.bdev, None
        if bdev is not None:
            self._bdevs.unregister(bdev)
