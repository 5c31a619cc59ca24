"""All lvol stores: made, found again when their base bdev comes, closed when it goes."""

import errno
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import structlog

from spdk_emulator.bdev.aio import base_file
from spdk_emulator.bdev.bdev import AIO, MALLOC, READ_MANY_WRITE_ONE, Bdev
from spdk_emulator.bdev.layout import total_data_clusters
from spdk_emulator.bdev.lvol import Lvol
from spdk_emulator.bdev.lvol_store import NAME_MAX, LvolStore
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
        store = LvolStore(self._bdevs, base, _files(base), settings)
        store.files.make(store.metadata())
        self._add(store)
        return store

    def delete(self, store: LvolStore) -> None:
        """Deletes the store with all its lvols and their bytes."""
        self._forget(store)
        store.base.claim = ""
        store.files.remove()

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
            if bdev is not None and bdev.name in store.lvols:
                return store, store.lvols[bdev.name]
        raise refused(errno.ENODEV)

    def _examine(self, bdev: Bdev) -> None:
        """A store that lies on a new bdev comes back by itself."""
        if bdev.kind is not AIO:
            return
        files = _files(bdev)
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
                if bdev.kind is not AIO:
                    store.files.remove()

    def _add(self, store: LvolStore) -> None:
        store.base.claim = READ_MANY_WRITE_ONE
        self._stores[store.uuid] = store

    def _forget(self, store: LvolStore) -> None:
        store.close()
        self._stores.pop(store.uuid, None)


def _check_name(name: str) -> None:
    if not name or len(name.encode()) > NAME_MAX:
        raise RpcError(-errno.EINVAL, "Invalid argument")


def _files(base: Bdev) -> StoreFiles:
    """Beside the file of an aio bdev, `<file>.lvs`; of a malloc bdev in a folder that goes with it."""
    if base.kind is AIO:
        return StoreFiles(Path(f"{base_file(base)}.lvs"))
    if base.kind is MALLOC:
        return StoreFiles(Path(mkdtemp(prefix="lvs-")))
    raise refused(errno.EOPNOTSUPP)
