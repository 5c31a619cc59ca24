"""The guest as an NVMe/TCP host: nvme-cli's commands, and what the kernel's sysfs says of them."""

import json
import shlex
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.contract.nvme_tcp.storage_node import HOST, Export
from tests.e2e.guest.guest import MACHINE, CommandError, Guest

from dpucsi.aio import wait_until

HOST_ID = "7b1f2a44-6f0e-4a1a-9a9e-5f6f0c0d1e2f"
_ATTRIBUTES = ("uuid", "nguid", "wwid", "size", "ro", "queue/logical_block_size", "queue/discard_max_bytes")


@dataclass(frozen=True)
class Disk:
    """A disk of the guest. `path` below /dev; `size` in bytes; `ana` by hidden path, where there are paths."""

    name: str
    attributes: dict[str, str]

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    @property
    def size(self) -> int:
        return int(self.attributes["size"]) * 512


class LinuxHost:
    """Everything that a test asks of the guest's kernel."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.sh = guest.sh
        self.run = guest.run

    async def connect(
        self, export: Export, *options: str, path: int = 0, hostnqn: str = HOST, io_queues: int = 1
    ) -> str:
        """Connects to the address with this number; the controller's name. Raises CommandError."""
        where = ("-t", "tcp", "-a", MACHINE, "-s", export.addresses[path].trsvcid, "-n", export.nqn)
        who = ("--hostnqn", hostnqn, "--hostid", HOST_ID)
        argv = ("nvme", "connect", *where, *who, "-i", str(io_queues), "-o", "json", *options)
        return str(json.loads(await self.sh(shlex.join(argv)))["device"])

    async def disconnect(self, export: Export) -> None:
        """Ends every session with the subsystem, in order."""
        await self.sh(f"nvme disconnect -n {export.nqn}")

    async def nvme(self, *argv: str) -> Any:
        """The JSON that `nvme ...` prints."""
        return json.loads(await self.sh(shlex.join(("nvme", *argv, "-o", "json"))))

    async def find(self, uuid: str) -> Disk | None:
        """The disk with this namespace uuid, if it is there; not a hidden path of it."""
        # `hidden`: 1 for the single path below a multipath disk, which has the same uuid.
        seen = await self.sh(
            f"cd /sys/block; for name in nvme*; do grep -qs 0 $name/hidden && grep -qs {uuid} $name/uuid || continue; "
            f"cd $name && echo name:$name && grep -H . {' '.join(_ATTRIBUTES)}; break; done"
        )
        attributes = dict(line.split(":", 1) for line in seen.splitlines())
        return Disk(attributes["name"], attributes) if attributes else None

    async def disk(self, uuid: str, size: int | None = None) -> Disk:
        """Waits for the disk, and for its size where one is given."""

        async def seen() -> Disk | None:
            try:
                disk = await self.find(uuid)
            except CommandError:  # it went while we looked
                return None
            return disk if disk is not None and size in (None, disk.size) else None

        return await wait_until(seen, f"a disk {uuid} of {size} bytes in the guest", timeout_s=20)

    async def no_disk(self, uuid: str) -> None:
        """Waits until the disk is gone."""

        async def gone() -> bool | None:
            return True if await self.find(uuid) is None else None

        await wait_until(gone, f"the end of the disk {uuid} in the guest", timeout_s=20)

    async def attribute(self, controller: str, name: str) -> str:
        """One file of /sys/class/nvme/<controller>, "" where it does not exist."""
        return (await self.sh(f"cat /sys/class/nvme/{controller}/{name} 2>/dev/null; true")).strip()

    async def state(self, controller: str, *wanted: str) -> str:
        """Waits until the controller is in one of these states ("": gone)."""

        async def reached() -> str | None:
            state = await self.attribute(controller, "state")
            return state if state in wanted else None

        return await wait_until(reached, f"{controller} in {wanted}", timeout_s=30)

    async def fail_io_after(self, controller: str, seconds: int) -> None:
        """I/O that waits for a path gets an error so long after the last one went (no option of nvme-cli 2.3)."""
        await self.sh(f"echo {seconds} > /sys/class/nvme/{controller}/fast_io_fail_tmo")

    async def mark(self) -> str:
        """Puts a word into the kernel's log, for `said_since`; returns it."""
        word = f"mark-{uuid4()}"
        await self.sh(f"echo {word} > /dev/kmsg")
        return word

    async def said_since(self, mark: str) -> str:
        """The kernel's log behind the word."""
        return await self.sh(f"dmesg | sed '1,/{mark}/d'")
