"""bdev_*: block devices of any kind, with the two kinds that need no hardware (aio, malloc)."""

from dataclasses import dataclass

from dpucsi.spdk.answers import Caller, Fields, done, each, given, only, text
from dpucsi.spdk.errors import SpdkError
from dpucsi.spdk.lvol import LvolPart, lvol_part


@dataclass(frozen=True)
class Bdev:
    """One block device. `name` of an lvol is its uuid; `lvs/lvol` is an alias. `lvol` is set for lvols only.

    `uuid` is 8-4-4-4-12 lower-case hex digits: for an NVMe namespace the one that its target gave it, so it tells
    which volume this is. The name does not: another namespace at the same nsid comes back under the same name.
    """

    name: str
    aliases: tuple[str, ...]
    uuid: str
    product_name: str
    block_size: int
    num_blocks: int
    claimed: bool
    lvol: LvolPart | None

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self.block_size * self.num_blocks


@dataclass(frozen=True)
class Iostat:
    """What one bdev has done since it was made, or since its figures were reset. Latencies are sums, in seconds."""

    name: str
    bytes_read: int
    num_read_ops: int
    read_latency_s: float
    bytes_written: int
    num_write_ops: int
    write_latency_s: float
    bytes_unmapped: int
    num_unmap_ops: int
    unmap_latency_s: float


async def bdev_get_bdevs(client: Caller, *, name: str | None = None) -> tuple[Bdev, ...]:
    """All bdevs, or the one with this name or alias (refused where there is none: see `find_bdev`)."""
    return each("bdev_get_bdevs", await client.call("bdev_get_bdevs", given(name=name)), _bdev)


async def find_bdev(client: Caller, name: str) -> Bdev | None:
    """The bdev with this name or alias, or None: in one round.

    The read by name takes nothing but a name, so with SPDK itself in order (the client's own errors are raised) its one
    reason to refuse is that there is no such bdev; recorded: -19 for a name that does not exist, is being deleted or
    was deleted. Reading the whole list instead would cost 800 KB per 1,000 bdevs each time.
    """
    try:
        return only("bdev_get_bdevs", await bdev_get_bdevs(client, name=name))
    except SpdkError:
        return None


async def bdev_get_iostat(client: Caller, *, names: tuple[str, ...] | None = None) -> tuple[Iostat, ...]:
    """The figures of all bdevs, or of these (refused where one of them does not exist). `names`: SPDK 26.09 on."""
    answer = Fields(
        "bdev_get_iostat", await client.call("bdev_get_iostat", given(names=None if names is None else list(names)))
    )
    tick_rate = answer.number("tick_rate")
    return answer.each("bdevs", lambda figures: _iostat(figures, tick_rate))


async def bdev_aio_create(
    client: Caller, *, name: str, filename: str, block_size: int, uuid: str | None = None, readonly: bool | None = None
) -> str:
    """A bdev over a file or a block device of the machine; lvol stores on it come back by themselves."""
    params = given(name=name, filename=filename, block_size=block_size, uuid=uuid, readonly=readonly)
    return text("bdev_aio_create", await client.call("bdev_aio_create", params))


async def bdev_aio_delete(client: Caller, *, name: str) -> None:
    """Takes the bdev away; what is in the file stays."""
    done("bdev_aio_delete", await client.call("bdev_aio_delete", {"name": name}))


async def bdev_malloc_create(
    client: Caller, *, name: str, num_blocks: int, block_size: int, uuid: str | None = None
) -> str:
    """A bdev in memory, for tests; unlike an lvol it exists as soon as the call was sent."""
    params = given(name=name, num_blocks=num_blocks, block_size=block_size, uuid=uuid)
    return text("bdev_malloc_create", await client.call("bdev_malloc_create", params))


async def bdev_malloc_delete(client: Caller, *, name: str) -> None:
    """Deletes the bdev and what is in it."""
    done("bdev_malloc_delete", await client.call("bdev_malloc_delete", {"name": name}))


def _bdev(bdev: Fields) -> Bdev:
    specific = bdev.fields("driver_specific")
    return Bdev(
        name=bdev.text("name"),
        aliases=bdev.texts("aliases"),
        uuid=bdev.text("uuid"),
        product_name=bdev.text("product_name"),
        block_size=bdev.number("block_size"),
        num_blocks=bdev.number("num_blocks"),
        claimed=bdev.flag("claimed"),
        lvol=lvol_part(specific.fields("lvol")) if specific.has("lvol") else None,
    )


def _iostat(figures: Fields, tick_rate: int) -> Iostat:
    return Iostat(
        name=figures.text("name"),
        bytes_read=figures.number("bytes_read"),
        num_read_ops=figures.number("num_read_ops"),
        read_latency_s=figures.number("read_latency_ticks") / tick_rate,
        bytes_written=figures.number("bytes_written"),
        num_write_ops=figures.number("num_write_ops"),
        write_latency_s=figures.number("write_latency_ticks") / tick_rate,
        bytes_unmapped=figures.number("bytes_unmapped"),
        num_unmap_ops=figures.number("num_unmap_ops"),
        unmap_latency_s=figures.number("unmap_latency_ticks") / tick_rate,
    )
