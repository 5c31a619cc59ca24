"""One block device, and how SPDK shows it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from spdk_emulator.bdev.io import BlockIo
from spdk_emulator.bdev.iostat import CountedIo
from spdk_emulator.rpc.params import Json

READ_MANY_WRITE_ONE = "read_many_write_one"  # what an lvol store claims its base bdev with
EXCLUSIVE_WRITE = "exclusive_write"  # what an NVMe-oF namespace claims its bdev with

_IO_TYPES = (
    *("read", "write", "unmap", "flush", "reset", "nvme_admin", "nvme_io", "nvme_io_md", "write_zeroes", "zcopy"),
    *("get_zone_info", "zone_management", "zone_append", "compare", "compare_and_write", "abort", "seek_hole"),
    *("seek_data", "copy", "nvme_iov_md", "nvme_nssr", "write_uncorrectable"),
)


@dataclass(frozen=True)
class Kind:
    """What all bdevs of one module have in common, as recorded."""

    product_name: str
    io_types: frozenset[str]
    alignment: int = 0  # preferred alignment and granularity, of writes and unmaps, in blocks
    optimal_write_size: int = 0
    has_numa_id: bool = False
    has_memory_domains: bool = False
    io_error: str = "failed"  # the name of its failures in bdev_get_iostat


AIO = Kind("AIO disk", frozenset({"read", "write", "flush", "reset", "write_zeroes"}), io_error="aio_error")
MALLOC = Kind(
    "Malloc disk",
    frozenset({"read", "write", "unmap", "flush", "reset", "write_zeroes", "zcopy", "compare", "abort", "copy"}),
    has_numa_id=True,
)
LVOL = Kind("Logical Volume", frozenset({"read", "write", "unmap", "reset", "write_zeroes", "seek_hole", "seek_data"}))
LVOL_READ_ONLY = Kind("Logical Volume", LVOL.io_types - {"write", "unmap", "write_zeroes"})
NVME = Kind(
    "NVMe disk",
    frozenset({"read", "write", "unmap", "flush", "reset", "nvme_admin", "nvme_io", "write_zeroes"})
    | {"compare", "compare_and_write", "abort", "copy"},
    alignment=1,
    optimal_write_size=32,
    has_numa_id=True,
    has_memory_domains=True,
    io_error="nvme_error",
)


def _nothing() -> None:
    """Nothing to end."""


@dataclass(eq=False)
class Bdev:
    """A block device. `io` does its reads and writes, and is counted from here on; `close` ends it when it is gone.

    `details` makes its driver_specific part when it is asked for.
    """

    name: str
    aliases: list[str]
    uuid: str
    kind: Kind
    block_size: int
    num_blocks: int
    io: BlockIo
    details: Callable[[], dict[str, Json]]
    is_read_only: bool = False
    extra_io_types: frozenset[str] = field(default_factory=frozenset)
    claim: str = ""
    close: Callable[[], None] = _nothing

    def __post_init__(self) -> None:
        self.counted = CountedIo(self.io, self.kind.io_error)
        self.io = self.counted

    @property
    def size(self) -> int:
        """Bytes."""
        return self.block_size * self.num_blocks

    def answers_to(self, name: str) -> bool:
        """SPDK finds a bdev by its name, its aliases, and its uuid."""
        return name == self.name or name in self.aliases or name == self.uuid

    def describe(self) -> dict[str, Json]:
        """As in bdev_get_bdevs."""
        io_types = self.kind.io_types | self.extra_io_types
        no_limits: dict[str, Json] = {
            "rw_ios_per_sec": 0,
            "rw_mbytes_per_sec": 0,
            "r_mbytes_per_sec": 0,
            "w_mbytes_per_sec": 0,
        }
        shown: dict[str, Json] = {
            "name": self.name,
            "aliases": list(self.aliases),
            "product_name": self.kind.product_name,
            "block_size": self.block_size,
            "num_blocks": self.num_blocks,
            "preferred_write_alignment": self.kind.alignment,
            "preferred_write_granularity": self.kind.alignment,
            "optimal_write_size": self.kind.optimal_write_size,
            "preferred_unmap_alignment": self.kind.alignment,
            "preferred_unmap_granularity": self.kind.alignment,
            "uuid": self.uuid,
        }
        if self.kind.has_numa_id:
            shown["numa_id"] = -1
        shown["assigned_rate_limits"] = no_limits
        shown["claimed"] = bool(self.claim)
        if self.claim:
            shown["claim_type"] = self.claim
        shown["zoned"] = False
        shown["supported_io_types"] = {name: name in io_types for name in _IO_TYPES}
        if self.kind.has_memory_domains:
            shown["memory_domains"] = [{"dma_device_type": "DMA"}]
        shown["driver_specific"] = self.details()
        return shown
