"""A DPU under test, emulated or real: its bdev_nvme attaches to a storage node, and what it attached is read and
written through its own NVMe/TCP target, by our host. So every byte passes the initiator under test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.contract.nvme_tcp.storage_node import HOST, Export, StorageNode
from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi.aio import wait_until
from dpucsi.nvme_tcp.host import HostController
from dpucsi.spdk import SpdkClient, bdev, nvme, nvmf
from dpucsi.spdk.address import TransportAddress
from dpucsi.testing.ports import free_port

READER = "nqn.2024-01.io.dpucsi:host:reader"


@dataclass
class Disk:
    """What was attached, as our host sees it behind the DPU. `changes` counts what it was told of namespaces."""

    name: str
    bdev_name: str
    host: HostController = field(init=False)
    changes: int = 0
    is_lost: bool = False

    def changed(self) -> None:
        self.changes += 1

    def lost(self) -> None:
        self.is_lost = True

    async def read(self, offset: int, length: int) -> bytes:
        return await self.host.read(1, offset, length)

    async def write(self, offset: int, data: bytes) -> None:
        await self.host.write(1, offset, data)


class Dpu:
    """One process with bdev_nvme and, for the tests' own access, a TCP transport."""

    def __init__(self, kind: str, folder: Path, core: int = 1) -> None:
        self.process = SpdkProcess(kind, folder, core)
        self.spdk = SpdkClient(self.process.endpoint, name=f"DPU {folder.name}")

    async def start(self) -> None:
        """Starts the process; returns when its transport is there."""
        self.process.start()
        await nvmf.nvmf_create_transport(self.spdk, trtype="TCP")

    async def close(self) -> None:
        """Ends process and client."""
        self.process.stop()
        await self.spdk.close()

    async def attach(
        self, export: Export, name: str, *, path: int = 0, digests: bool = False, fast_io_fail_timeout_sec: int = 0
    ) -> str:
        """The name of the bdev that the first path brings; one more path brings no other."""
        found = await nvme.bdev_nvme_attach_controller(
            self.spdk,
            name=name,
            address=export.addresses[path],
            subnqn=export.nqn,
            hostnqn=HOST,
            multipath="multipath",
            ctrlr_loss_timeout_sec=-1,
            reconnect_delay_sec=1,
            fast_io_fail_timeout_sec=fast_io_fail_timeout_sec,
            hdgst=digests,
            ddgst=digests,
        )
        return found[0]

    async def path_states(self, name: str) -> list[str]:
        """In the order of attaching."""
        (controller,) = await nvme.bdev_nvme_get_controllers(self.spdk, name=name)
        return [path.state for path in controller.paths]

    @asynccontextmanager
    async def attached(
        self, export: Export, *, digests: bool = False, fast_io_fail_timeout_sec: int = 0
    ) -> AsyncIterator[Disk]:
        """Attaches, shows the bdev at an address of the DPU's own and connects to it."""
        name = f"v{uuid4().hex[:8]}"
        bdev_name = await self.attach(export, name, digests=digests, fast_io_fail_timeout_sec=fast_io_fail_timeout_sec)
        disk = Disk(name, bdev_name)
        nqn = f"nqn.2024-01.io.dpucsi:reader:{name}"
        address = TransportAddress("TCP", "127.0.0.1", str(free_port()), "IPv4")
        await nvmf.nvmf_create_subsystem(self.spdk, nqn=nqn, serial_number="READER", allow_any_host=True)
        await nvmf.nvmf_subsystem_add_ns(self.spdk, nqn=nqn, bdev_name=bdev_name, nsid=1)
        await nvmf.nvmf_subsystem_add_listener(self.spdk, nqn=nqn, address=address)
        disk.host = await connect(address, nqn, READER, on_namespaces=disk.changed, on_lost=disk.lost)
        try:
            yield disk
        finally:
            await disk.host.disconnect()
            await nvmf.nvmf_delete_subsystem(self.spdk, nqn=nqn)
            await nvme.bdev_nvme_detach_controller(self.spdk, name=name)

    async def bdev(self, name: str) -> bdev.Bdev | None:
        """The bdev with this name."""
        return await bdev.find_bdev(self.spdk, name)


async def connect(
    address: TransportAddress,
    subnqn: str,
    hostnqn: str,
    *,
    digests: bool = False,
    io_queues: int = 1,
    on_namespaces: Callable[[], None] = lambda: None,
    on_lost: Callable[[], None] = lambda: None,
) -> HostController:
    """Our host, over TCP."""
    loop = asyncio.get_running_loop()
    return await HostController.connect(
        partial(loop.create_connection, host=address.traddr, port=int(address.trsvcid)),
        subnqn=subnqn,
        hostnqn=hostnqn,
        hostid=uuid4(),
        io_queues=io_queues,
        hdgst=digests,
        ddgst=digests,
        on_namespaces=on_namespaces,
        on_lost=on_lost,
    )


async def until(look: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 15.0) -> None:
    """Waits for a state."""

    async def seen() -> bool | None:
        return True if await look() else None

    await wait_until(seen, what, timeout_s=timeout_s)


async def cut(storage: StorageNode, export: Export) -> None:
    """Ours has cut the host off when it answers; SPDK is done when it shows no session any more."""

    async def nobody() -> bool:
        return await storage.hosts_connected(export) == []

    if storage.process.kind == "emulator":
        assert await nobody()
    await until(nobody, "the end of the session")


async def nothing_changes(export: Export, seconds: float = 0.5) -> None:
    """Watches the storage's bytes for so long."""
    before = export.digest()
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(seconds / 10)
        assert export.digest() == before, "a byte arrived behind the fence"
