"""All lvol stores: made, found again when their base bdev comes, closed when it goes."""

import errno
from uuid import uuid4

import structlog

from spdk_emulator.bdev.bdev import AIO, READ_MANY_WRITE_ONE, Bdev
from spdk_emulator.bdev.layout import total_data_clusters
from spdk_emulator.bdev.lvol_store import Lvol, LvolStore
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.bdev.store_files import StoreFiles
from spdk_emulator.rpc.errors import RpcError, refused, refused_as_params

log = structlog.get_logger(__name__)


class LvolStores:
    """Stores by uuid, in the order in which they came."""

    def __init__(self, bdevs: Bdevs) -> None:
        self._bdevs = bdevs
        self._stores: dict[str, LvolStore] = {}
        bdevs.on_registered.append(self._examine)
        bdevs.on_removed.append(self._base_removed)

    def all(self) -> list[LvolStore]:
        """Every store."""
        return list(self._stores.values())

    def create(self, bdev_name: str, name: str, cluster_size: int, md_ratio: int) -> LvolStore:
        """A new store; raises what SPDK would answer."""
        base = self._bdevs.find(bdev_name)
        if base is None:
            raise refused(errno.ENODEV)
        if base.claim:
            raise refused(errno.EPERM)
        _check_name(name)
        if cluster_size % base.block_size or total_data_clusters(base.size, cluster_size, md_ratio) < 1:
            raise refused(errno.EINVAL)
        if any(store.name == name for store in self.all()):
            raise refused(errno.EEXIST)
        if base.is_read_only:
            raise refused_as_params(errno.EIO)
        settings = {"uuid": str(uuid4()), "name": name, "cluster_size": cluster_size, "md_ratio": md_ratio}
        files = StoreFiles(base.path)
        store = LvolStore(self._bdevs, base, files, settings)
        files.make(store.metadata())
        self._add(store)
        return store

    def delete(self, store: LvolStore) -> None:
        """Deletes the store with all its lvols and their bytes."""
        self._forget(store)
        store.base.claim = ""
        StoreFiles(store.base.path).remove()

    def find(self, uuid: str | None, name: str | None) -> LvolStore:
        """By exactly one of the two; raises what SPDK would answer."""
        if (uuid is None) == (name is None):
            raise refused(errno.EINVAL)
        for store in self.all():
            if store.uuid == uuid or store.name == name:
                return store
        raise refused(errno.ENODEV)

    def lvol(self, name: str) -> tuple[LvolStore, Lvol]:
        """The lvol with this bdev name or alias; raises "No such device"."""
        bdev = self._bdevs.find(name)
        for store in self.all() if bdev else ():
            lvol = store.lvol_of(bdev) if bdev else None
            if lvol is not None:
                return store, lvol
        raise refused(errno.ENODEV)

    def _examine(self, bdev: Bdev) -> None:
        """A store that lies on a new bdev comes back by itself."""
        if bdev.kind is not AIO:
            return
        files = StoreFiles(bdev.path)
        saved = files.load()
        if saved is None or saved["uuid"] in self._stores:
            return
        store = LvolStore(self._bdevs, bdev, files, saved)
        self._add(store)
        lvols = saved["lvols"]
        store.open(lvols)  # type: ignore[arg-type]  # as metadata() wrote it
        log.info("lvol store loaded", store=store.name, base_bdev=bdev.name, lvols=len(store.lvols))

    def _base_removed(self, bdev: Bdev) -> None:
        for store in self.all():
            if store.base is bdev:
                self._forget(store)

    def _add(self, store: LvolStore) -> None:
        store.base.claim = READ_MANY_WRITE_ONE
        self._stores[store.uuid] = store

    def _forget(self, store: LvolStore) -> None:
        store.close()
        self._stores.pop(store.uuid, None)


def _check_name(name: str) -> None:
    if not name or len(name.encode()) > 63:
        raise RpcError(-errno.EINVAL, "Invalid argument")
