"""Stats calls: SPDK's figures of the bdevs behind an object, summed up; OPI's fields are 32 bit, so they saturate."""

from collections.abc import Iterable

from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.errors import UnavailableError
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.bdev import Iostat, bdev_get_iostat, find_bdev

INT32_MAX = 2**31 - 1
TICKS_PER_S = 1_000_000  # OPI does not say how long a tick is: ours is a microsecond


async def stats_of(client: SpdkClient, what: str, bdev: str) -> common.VolumeStats:
    """The figures of one bdev, by name, alias or uuid. Raises UnavailableError: it is not there now."""
    found = await find_bdev(client, bdev)
    if found is None:
        raise UnavailableError(f"{what} has no figures: SPDK has no bdev {bdev} now; try again when it is back")
    return summed(await bdev_get_iostat(client, names=(found.name,)))


def summed(figures: Iterable[Iostat]) -> common.VolumeStats:
    """As OPI has them. Latencies are sums over all operations, in microseconds."""
    each = list(figures)
    return common.VolumeStats(
        read_bytes_count=_int32(sum(f.bytes_read for f in each)),
        read_ops_count=_int32(sum(f.num_read_ops for f in each)),
        write_bytes_count=_int32(sum(f.bytes_written for f in each)),
        write_ops_count=_int32(sum(f.num_write_ops for f in each)),
        unmap_bytes_count=_int32(sum(f.bytes_unmapped for f in each)),
        unmap_ops_count=_int32(sum(f.num_unmap_ops for f in each)),
        read_latency_ticks=_int32(sum(f.read_latency_s for f in each) * TICKS_PER_S),
        write_latency_ticks=_int32(sum(f.write_latency_s for f in each) * TICKS_PER_S),
        unmap_latency_ticks=_int32(sum(f.unmap_latency_s for f in each) * TICKS_PER_S),
    )


def _int32(value: float) -> int:
    return min(int(value), INT32_MAX)
