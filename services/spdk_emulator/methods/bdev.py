"""bdev_*: what all bdevs have in common."""

import asyncio
import errno
from collections.abc import Awaitable

from spdk_emulator.bdev.bdev import NVME, Bdev
from spdk_emulator.bdev.iostat import TICK_RATE
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.errors import INVALID_PARAMS, RpcError, refused
from spdk_emulator.rpc.params import Json, boolean, may, one_of, takes, text, u32, u64, words
from spdk_emulator.rpc.table import method

_RESET_MODE = one_of("all", "maxmin", "error", "none")


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
    takes(names=may(words), per_channel=may(boolean, False), reset_mode=may(_RESET_MODE)),
)
def bdev_get_iostat(emulator: Emulator, *, names: list[str] | None, per_channel: bool, reset_mode: str | None) -> Json:
    """Since the last reset; `reset_mode` resets what was answered."""
    if per_channel and (names is None or len(names) != 1):
        raise refused(errno.EINVAL)
    bdevs = _named(emulator, names)
    shown: dict[str, Json] = {"tick_rate": TICK_RATE, "ticks": emulator.age_ticks()}
    if per_channel:
        return shown | {"name": bdevs[0].name, "channels": []}
    figures = [_iostat(bdev) for bdev in bdevs]
    for bdev in bdevs:
        bdev.counted.stat.reset(reset_mode or "none")
    return shown | {"bdevs": figures}


@method("bdev_reset_iostat", takes(name=may(text), mode=may(_RESET_MODE, "all")))
def bdev_reset_iostat(emulator: Emulator, *, name: str | None, mode: str) -> Json:
    """Of one bdev, or of all."""
    for bdev in _named(emulator, None if name is None or mode == "none" else [name]):
        bdev.counted.stat.reset(mode)
    return True


def _named(emulator: Emulator, names: list[str] | None) -> list[Bdev]:
    if names is None:
        return list(emulator.bdevs)
    found = [bdev for name in names if (bdev := emulator.bdevs.find(name)) is not None]
    if len(found) < len(names):
        raise refused(errno.ENODEV)
    return found


def _iostat(bdev: Bdev) -> Json:
    figures: dict[str, Json] = {"name": bdev.name, **bdev.counted.stat.describe()}
    return figures | {"driver_specific": {}} if bdev.kind is NVME else figures
