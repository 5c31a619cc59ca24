"""Storage emulator, DPU emulator and a host: three ends of two NVMe/TCP hops, and a writer that verifies every byte."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.unit.spdk_emulator.processes import Process, running

from dpucsi.nvme_tcp.host import HostController
from dpucsi.testing.ports import free_port

BACK, FRONT = "nqn.2024-01.io.example:vol", "nqn.2024-01.io.example:front"
HOSTNQN = "nqn.2024-01.io.example:dpu"
BLOCK, MIB = 4096, 1 << 20
SIZES = (1, 2, 3, 16, 33)  # blocks


def tcp(traddr: str, port: int) -> dict[str, str]:
    return {"trtype": "TCP", "adrfam": "IPv4", "traddr": traddr, "trsvcid": str(port)}


class Chain:
    """`paths`: the storage's listeners. `lvol`: what the storage exports, 16 MiB."""

    lvol = "lvs0/vol"

    def __init__(self, folder: Path, storage: Process, dpu: Process) -> None:
        self._folder = folder
        self.storage, self.dpu = storage, dpu
        port = free_port()
        self.paths = [tcp("127.0.0.1", port), tcp("127.0.0.2", port)]
        self._front = tcp("127.0.0.1", free_port())

    async def make(self) -> None:
        disk = self._folder / "disk.img"
        with disk.open("wb") as file:
            file.truncate(256 * MIB)
        await self._load_disk()
        await self.storage.call("bdev_lvol_create_lvstore", bdev_name="disk", lvs_name="lvs0", cluster_sz=MIB)
        await self.storage.call(
            "bdev_lvol_create", lvol_name="vol", size_in_mib=16, thin_provision=True, lvs_name="lvs0"
        )
        await self._export()

    async def restart_storage(self) -> None:
        """After a kill: what the disk holds, and the same export again."""
        await self.storage.start()
        await self._load_disk()
        await self._export()

    async def _load_disk(self) -> None:
        name = str(self._folder / "disk.img")
        await self.storage.call("bdev_aio_create", name="disk", filename=name, block_size=BLOCK)

    async def _export(self) -> None:
        await self.storage.call("nvmf_create_transport", trtype="TCP")
        await self.storage.call("nvmf_create_subsystem", nqn=BACK, ana_reporting=True)
        await self.storage.call("nvmf_subsystem_add_ns", nqn=BACK, namespace={"bdev_name": self.lvol})
        await self.storage.call("nvmf_subsystem_add_host", nqn=BACK, host=HOSTNQN)
        for path in self.paths:
            await self.storage.call("nvmf_subsystem_add_listener", nqn=BACK, listen_address=path)

    async def attach(self, *paths: int, **options: Any) -> None:
        """Connects the DPU, by these paths, and exports what it sees to hosts."""
        params = {"hostnqn": HOSTNQN, "ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 1} | options
        for path in paths:
            await self.dpu.call("bdev_nvme_attach_controller", name="r", subnqn=BACK, **self.paths[path], **params)
        await self.dpu.call("nvmf_create_transport", trtype="TCP")
        await self.dpu.call("nvmf_create_subsystem", nqn=FRONT, allow_any_host=True)
        await self.dpu.call("nvmf_subsystem_add_ns", nqn=FRONT, namespace={"bdev_name": "rn1"})
        await self.dpu.call("nvmf_subsystem_add_listener", nqn=FRONT, listen_address=self._front)

    async def states(self) -> list[str]:
        (controller,) = await self.dpu.call("bdev_nvme_get_controllers", name="r")
        return [str(path["state"]) for path in controller["ctrlrs"]]

    async def host(self) -> HostController:
        loop = asyncio.get_running_loop()
        return await HostController.connect(
            lambda factory: loop.create_connection(factory, "127.0.0.1", int(self._front["trsvcid"])),
            subnqn=FRONT,
            hostnqn="nqn.2024-01.io.example:host",
            hostid=uuid4(),
            on_namespaces=lambda: None,
            on_lost=lambda: None,
        )


@asynccontextmanager
async def chain(folder: Path) -> AsyncIterator[Chain]:
    async with running(folder, "storage") as storage, running(folder, "dpu") as dpu:
        made = Chain(folder, storage, dpu)
        await made.make()
        yield made


class Writer:
    """Writes and reads back without a pause, in lanes that do not touch each other's blocks."""

    def __init__(self, host: HostController, *, lanes: int = 4) -> None:
        self._host = host
        self._size = host.namespaces[1].size
        self._memory = bytearray(self._size)
        self._is_ending = False
        self._lanes = [asyncio.ensure_future(self._lane(lane, lanes)) for lane in range(lanes)]
        self.rounds = 0

    async def end(self) -> None:
        """Returns when every byte was read back as it was written."""
        self._is_ending = True
        await asyncio.gather(*self._lanes)
        assert await self._host.read(1, 0, self._size) == self._memory

    async def _lane(self, lane: int, lanes: int) -> None:
        rng, blocks = random.Random(lane), self._size // BLOCK // lanes
        while not self._is_ending:
            count = rng.choice(SIZES)
            start = (lane * blocks + rng.randrange(blocks - count)) * BLOCK
            piece = slice(start, start + count * BLOCK)
            if rng.random() < 0.1:
                await self._host.write_zeroes(1, start, count * BLOCK)
                self._memory[piece] = bytes(count * BLOCK)
            else:
                data = rng.randbytes(count * BLOCK)
                await self._host.write(1, start, data)
                self._memory[piece] = data
            assert await self._host.read(1, start, count * BLOCK) == self._memory[piece]
            self.rounds += 1
