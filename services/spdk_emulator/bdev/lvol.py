"""One logical volume: what the store keeps of it, its I/O, and how SPDK shows it."""

from dataclasses import dataclass, field
from typing import Any

from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.bdev.blob import Blob
from spdk_emulator.bdev.io import Data, device_errors
from spdk_emulator.rpc.params import Json


@dataclass(frozen=True)
class LvolRecord:
    """One entry of store.json. `blob` names its files ("": its uuid), `parent` is the uuid of its snapshot or ""."""

    uuid: str
    name: str
    clusters: int
    is_thin: bool
    blob: str = ""
    parent: str = ""
    is_read_only: bool = False

    @property
    def blob_name(self) -> str:
        """A snapshot takes over the blob of its lvol, so the names of lvol and blob may differ."""
        return self.blob or self.uuid

    def saved(self) -> dict[str, Any]:
        """As store.json has it."""
        return dict(vars(self))


@dataclass(eq=False)
class Lvol:
    """A live lvol."""

    record: LvolRecord
    blob: Blob
    parent: "Lvol | None" = None
    clones: "list[Lvol]" = field(default_factory=list)
    is_snapshot: bool = False  # had a clone since the store was loaded: so SPDK sees it (spdk_blob_is_snapshot)
    is_busy: bool = False  # one change at a time; the next one is refused
    bdev: Bdev | None = None

    @property
    def uuid(self) -> str:
        """Names its bdev."""
        return self.record.uuid

    @property
    def name(self) -> str:
        """Unique in its store."""
        return self.record.name

    @property
    def is_read_only(self) -> bool:
        """Snapshots are, and what was made so."""
        return self.record.is_read_only

    def hang_on(self, parent: "Lvol | None") -> None:
        """Makes it a clone of `parent`, or of nothing."""
        if self.parent is not None:
            self.parent.clones.remove(self)
        self.parent = parent
        self.blob.parent = parent.blob if parent else None
        if parent is not None:
            parent.clones.append(self)
            parent.is_snapshot = True

    def describe(self, store_name: str, store_uuid: str) -> dict[str, Json]:
        """As in bdev_lvol_get_lvols."""
        return {
            "alias": f"{store_name}/{self.name}",
            "uuid": self.uuid,
            "name": self.name,
            "is_thin_provisioned": self.record.is_thin,
            "is_snapshot": self.is_snapshot,
            "is_clone": self.parent is not None,
            "is_esnap_clone": False,
            "is_degraded": False,
            "num_allocated_clusters": self.blob.allocated,
            "lvs": {"name": store_name, "uuid": store_uuid},
        }

    def details(self, store_uuid: str, base_bdev: str) -> dict[str, Json]:
        """As in the driver_specific part of bdev_get_bdevs."""
        shown: dict[str, Json] = {
            "lvol_store_uuid": store_uuid,
            "base_bdev": base_bdev,
            "thin_provision": self.record.is_thin,
            "num_allocated_clusters": self.blob.allocated,
            "snapshot": self.is_snapshot,
            "clone": self.parent is not None,
        }
        if self.parent is not None:
            shown["base_snapshot"] = self.parent.name
        if self.clones:
            shown["clones"] = [clone.name for clone in self.clones]
        return {"lvol": shown | {"esnap_clone": False}}


class LvolIo:
    """The I/O of an lvol on the blob that it has at that moment."""

    def __init__(self, lvol: Lvol) -> None:
        self._lvol = lvol

    async def read(self, offset: int, length: int) -> bytes:
        """See BlockIo."""
        with device_errors():
            return self._lvol.blob.read(offset, length)

    async def write(self, offset: int, data: Data) -> None:
        """See BlockIo."""
        with device_errors():
            self._writable().write(offset, data)

    async def flush(self) -> None:
        """See BlockIo."""
        with device_errors():
            await self._lvol.blob.flush()

    async def unmap(self, offset: int, length: int) -> None:
        """See BlockIo."""
        with device_errors():
            self._writable().unmap(offset, length)

    async def write_zeroes(self, offset: int, length: int) -> None:
        """See BlockIo."""
        with device_errors():
            self._writable().write_zeroes(offset, length)

    def _writable(self) -> Blob:
        if self._lvol.is_read_only:
            raise PermissionError("the lvol is read-only")
        return self._lvol.blob
