"""The Host's side of a card: its tree, its disks, and programs that use them.

Only programs use a disk, and no thread of the test: the test serves the disk, and could not even be killed while one of
its own threads waits for it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from dpucsi.aio import wait_until
from dpucsi.nvme.sysfs import Disk, Sysfs
from dpucsi.testing.leftovers import loop_devices

SeenT = TypeVar("SeenT")


async def until(look: Callable[[], SeenT | None], what: str, timeout_s: float = 10.0) -> SeenT:
    async def looked() -> SeenT | None:
        return look()

    return await wait_until(looked, what, timeout_s=timeout_s, first_s=0.002, longest_s=0.02)


async def run(*argv: str | Path, stdin: bytes = b"") -> bytes:
    """What it printed; raises OSError with its words when it fails."""
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(stdin)
    if process.returncode:
        raise OSError(f"{' '.join(map(str, argv))} ended with {process.returncode}: {err.decode()}")
    return out


class Host:
    """`folder` is the card's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sysfs = Sysfs(folder / "sys")

    def node(self, disk: Disk) -> Path:
        return self.folder / "dev" / disk.name

    def disk(self, uuid: UUID) -> Disk | None:
        return next(iter(self.sysfs.disks(lambda found, _: found == uuid)), None)

    async def shown(self, uuid: UUID) -> Disk:
        return await until(lambda: self.disk(uuid), f"disk {uuid}")

    async def gone(self, uuid: UUID) -> None:
        await until(lambda: self.disk(uuid) is None or None, f"end of disk {uuid}")

    async def sized(self, uuid: UUID, size: int) -> None:
        def has_size() -> bool | None:
            disk = self.disk(uuid)
            return (disk is not None and disk.size_bytes == size) or None

        await until(has_size, f"disk {uuid} of {size} bytes")

    async def mounted(self, disk: Disk, fs_type: str) -> Path:
        """Formats and mounts it; the root of its file system."""
        await run(f"mkfs.{fs_type}", "-q", self.node(disk))
        point = self.folder / "mnt" / disk.name
        point.mkdir(parents=True)
        await run("mount", self.node(disk), point)
        return point

    async def write(self, path: Path, data: bytes) -> None:
        """To a file or a device, at its beginning, and durable."""
        await run("dd", f"of={path}", "bs=1M", "iflag=fullblock", "conv=notrunc,fsync", "status=none", stdin=data)

    async def read(self, path: Path) -> bytes:
        """A whole file."""
        return await run("cat", path)

    async def read_device(self, node: Path, offset: int, length: int) -> bytes:
        """From the device itself, not from what the kernel has kept."""
        return await run(
            *("dd", f"if={node}", f"bs={length}", "count=1", f"skip={offset // length}"), "iflag=direct", "status=none"
        )

    async def leftovers(self) -> list[str]:
        """Loop devices of the card."""
        return await asyncio.to_thread(loop_devices, self.folder)
