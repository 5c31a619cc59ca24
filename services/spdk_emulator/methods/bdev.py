"""bdev_*: what all bdevs have in common."""

import asyncio
import errno
from collections.abc import Awaitable

from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.emulator import TICK_RATE, Emulator
from spdk_emulator.rpc.errors import INVALID_PARAMS, RpcError, refused
from spdk_emulator.rpc.params import Json, boolean, may, one_of, takes, text, u32, u64, words
from spdk_emulator.rpc.table import method

_IOSTAT_OPERATIONS = (("read", "read"), ("written", "write"), ("unmapped", "unmap"), ("copied", "copy"))


@method("bdev_get_bdevs", takes(name=may(text), timeout=may(u64, 0)))
def bdev_get_bdevs(emulator: Emulator, *, name: str | None, timeout: int) -> "Json | Awaitable[Json]":
    """All bdevs, or one by name, alias or uuid; `timeout`: milliseconds to wait for it."""
    if name is None:
        return [bdev.describe() for bdev in emulator.bdevs]
    bdev = emulator.bdevs.find(name)
    if bdev is not None:
        return [bdev.describe()]
    if not timeout:
        raise refused(errno.ENODEV)
    return _wait_for(emulator, name, timeout / 1000)


async def _wait_for(emulator: Emulator, name: str, timeout_s: float) -> Json:
    came = asyncio.Event()

    def look(_: Bdev) -> None:
        came.set()

    emulator.bdevs.on_registered.append(look)
    try:
        async with asyncio.timeout(timeout_s):
            while (bdev := emulator.bdevs.find(name)) is None:
                came.clear()
                await came.wait()
            return [bdev.describe()]
    except TimeoutError as late:
        raise refused(errno.ETIMEDOUT) from late
    finally:
        emulator.bdevs.on_registered.remove(look)


@method("bdev_wait_for_examine", bare=RpcError(INVALID_PARAMS, "bdev_wait_for_examine requires no parameters"))
def bdev_wait_for_examine(_: Emulator) -> Json:
    """Stores are loaded when their bdev is registered, so there is nothing to wait for."""
    return True


@method(
    "bdev_set_options",
    takes(
        bdev_io_pool_size=may(u32),
        bdev_io_cache_size=may(u32),
        bdev_auto_examine=may(boolean),
        iobuf_small_cache_size=may(u32),
        iobuf_large_cache_size=may(u32),
    ),
    is_startup=True,
)
def bdev_set_options(_: Emulator, **options: object) -> Json:
    """Sizes of pools that do not exist here."""
    return True


@method(
    "bdev_get_iostat",
    takes(names=may(words), per_channel=may(boolean, False), reset_mode=may(one_of("all", "maxmin", "none"))),
)
def bdev_get_iostat(emulator: Emulator, *, names: list[str] | None, per_channel: bool, reset_mode: str | None) -> Json:
    """Zeros: the bytes do not pass through this process, so it does not know."""
    chosen = list(emulator.bdevs) if names is None else [emulator.bdevs.find(name) for name in names]
    shown: dict[str, Json] = {"tick_rate": TICK_RATE, "ticks": emulator.age_ticks()}
    bdevs = [bdev for bdev in chosen if bdev is not None]
    if len(bdevs) < len(chosen):
        raise refused(errno.ENODEV)
    if per_channel:
        if len(bdevs) != 1 or names is None:
            raise refused(errno.EINVAL)
        return shown | {"name": bdevs[0].name, "channels": []}
    return shown | {"bdevs": [_iostat(bdev) for bdev in bdevs]}


def _iostat(bdev: Bdev) -> Json:
    figures: dict[str, Json] = {"name": bdev.name}
    for done, operation in _IOSTAT_OPERATIONS:
        figures |= {f"bytes_{done}": 0, f"num_{operation}_ops": 0}
    for _, operation in _IOSTAT_OPERATIONS:
        for which in ("", "max_", "min_"):
            figures[f"{which}{operation}_latency_ticks"] = 0
    return figures | {"io_error": {}, "driver_specific": {}}
