"""An lvol store over a small file, opened again as often as a test likes, and what should be in it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spdk_emulator.bdev import lvol_changes
from spdk_emulator.bdev.aio import aio_bdev
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.bdev.lvol import Lvol
from spdk_emulator.bdev.lvol_store import LvolStore
from spdk_emulator.bdev.lvol_stores import LvolStores
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.notify import Notifications

BLOCK, CLUSTER = 512, 16 << 10
BASE_SIZE = 40 * CLUSTER


class Storage:
    """`open` is also what comes after a kill: nothing was closed before it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "base.img"
        with self._file.open("wb") as file:
            file.truncate(BASE_SIZE)
        self.open()
        self.stores.create("base", "lvs", CLUSTER, 100)

    def open(self) -> None:
        self.notifications = Notifications()
        self.bdevs = Bdevs(self.notifications)
        self.stores = LvolStores(self.bdevs)
        self.base = aio_bdev("base", str(self._file), BLOCK, None, is_read_only=False, fallocate=False)
        self.bdevs.register(self.base)

    def close(self) -> None:
        self.bdevs.unregister(self.base)

    @property
    def store(self) -> LvolStore:
        return self.stores.all()[0]

    def lvol(self, name: str) -> Lvol:
        return self.stores.lvol(f"lvs/{name}")[1]

    def bdev(self, name: str) -> Bdev:
        found = self.bdevs.find(f"lvs/{name}")
        assert found is not None
        return found

    async def create(self, name: str, clusters: int, *, is_thin: bool = True) -> None:
        await lvol_changes.create(self.store, name, clusters * CLUSTER, is_thin=is_thin)

    async def run(self, change: Callable[..., Awaitable[Any]], name: str, *values: Any) -> Any:
        return await change(self.store, self.lvol(name), *values)

    async def read(self, name: str) -> bytes:
        bdev = self.bdev(name)
        return await bdev.io.read(0, bdev.size) if bdev.size else b""

    async def write(self, name: str, offset: int, data: bytes) -> None:
        await self.bdev(name).io.write(offset, data)


@dataclass(eq=False)
class Plain:
    """What an lvol should be: its own clusters by number, the rest is its parent's."""

    clusters: int
    is_thin: bool
    parent: "Plain | None" = None
    is_read_only: bool = False
    own: dict[int, bytearray] = field(default_factory=dict)

    def cluster(self, number: int) -> bytes:
        if number in self.own:
            return bytes(self.own[number])
        if self.parent is None or number >= self.parent.clusters:
            return bytes(CLUSTER)
        return self.parent.cluster(number)

    def read(self) -> bytes:
        return b"".join(self.cluster(number) for number in range(self.clusters))

    def take(self, number: int) -> bytearray:
        return self.own.setdefault(number, bytearray(self.cluster(number)))


def parts(offset: int, length: int) -> list[tuple[int, int, int]]:
    """(cluster, first byte in it, bytes) of a range."""
    found = []
    while length:
        inside = offset % CLUSTER
        size = min(CLUSTER - inside, length)
        found.append((offset // CLUSTER, inside, size))
        offset, length = offset + size, length - size
    return found


async def both(*calls: Awaitable[Any]) -> list[Any]:
    """Started together; a refusal is a result."""
    return await asyncio.gather(*calls, return_exceptions=True)
