"""A target in this very process, and hosts that send it single commands."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from dpucsi.aio import wait_until
from dpucsi.nvme_tcp.command import AdminOpcode, Command, IoOpcode
from dpucsi.nvme_tcp.fabrics import (
    ANY_CNTLID,
    ENABLED,
    Configuration,
    Connect,
    ConnectData,
    ControllerStatus,
    Property,
    property_get,
    property_set,
)
from dpucsi.nvme_tcp.host_queue import HostQueue
from dpucsi.nvme_tcp.logs import LogRequest
from dpucsi.nvme_tcp.status import NvmeError, Status
from dpucsi.testing.ports import free_port
from spdk_emulator import methods
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.emulator import Emulator
from spdk_emulator.nvmf.subsystem import Subsystem
from spdk_emulator.rpc import table

assert methods.__all__  # importing them fills the table
SUBNQN = "nqn.2024-01.io.example:vol"
HOSTNQN, OTHER = "nqn.2024-01.io.example:host", "nqn.2024-01.io.example:other"
HOSTID = UUID("6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10")
BLOCK, BLOCKS = 4096, 256
IN_CAPSULE = 4096
PATIENCE_S = 5.0


async def until(look: Callable[[], Any], what: str) -> Any:
    async def found() -> Any:
        return look() or None

    return await wait_until(found, what, timeout_s=PATIENCE_S, longest_s=0.01)


class Session:
    """One connected host: its admin queue, and whatever I/O queues it opens."""

    def __init__(self, rig: "Rig", admin: HostQueue, cntlid: int, hostnqn: str, subnqn: str) -> None:
        self._rig = rig
        self.admin = admin
        self.cntlid = cntlid
        self.hostnqn = hostnqn
        self.subnqn = subnqn

    async def enable(self, configuration: Configuration = ENABLED) -> None:
        await self.admin.execute(property_set(Property.CC, configuration.encode()))

    async def status(self) -> ControllerStatus:
        return ControllerStatus.decode(await self.admin.execute(property_get(Property.CSTS)))

    async def io_queue(self, qid: int = 1, **who: Any) -> HostQueue:
        mine: dict[str, Any] = {"cntlid": self.cntlid, "hostnqn": self.hostnqn, "subnqn": self.subnqn}
        queue, _ = await self._rig.queue(qid=qid, **(mine | who))
        return queue

    async def identify(self, cns: int, nsid: int = 0, csi: int = 0) -> bytes:
        into = bytearray(4096)
        await self.admin.execute(Command(AdminOpcode.IDENTIFY, nsid=nsid, cdw10=cns, cdw11=csi << 24), into=into)
        return bytes(into)

    async def log_page(self, page: int, length: int, **more: Any) -> bytes:
        into = bytearray(length)
        await self.admin.execute(LogRequest(page, length, **more).command(), into=into)
        return bytes(into)

    async def get_feature(self, feature: int, value: int = 0, length: int = 0) -> int | bytes:
        into = bytearray(length)
        result = await self.admin.execute(Command(AdminOpcode.GET_FEATURES, cdw10=feature, cdw11=value), into=into)
        return bytes(into) if length else result

    async def set_feature(self, feature: int, value: int, data: bytes = b"") -> int:
        return await self.admin.execute(Command(AdminOpcode.SET_FEATURES, cdw10=feature, cdw11=value), data=data)

    def event(self) -> "asyncio.Task[int]":
        return asyncio.create_task(self.admin.execute(Command(AdminOpcode.ASYNC_EVENT_REQUEST)))


class Rig:
    """An emulator with one subsystem over a malloc bdev, reached over TCP."""

    def __init__(self) -> None:
        self.emulator = Emulator(attach_s=0)
        self.port = free_port()
        self.address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(self.port)}
        self._queues: list[HostQueue] = []
        self.lost: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        answer = table.call(self.emulator, method, params or None)
        return await answer if isinstance(answer, Awaitable) else answer

    async def make(self, *, transport: dict[str, Any] | None = None, **subsystem: Any) -> None:
        await self.call("bdev_malloc_create", name="bytes", num_blocks=BLOCKS, block_size=BLOCK)
        await self.call("nvmf_create_transport", trtype="TCP", **(transport or {}))
        await self.call("nvmf_create_subsystem", nqn=SUBNQN, serial_number="S1", **subsystem)
        await self.call("nvmf_subsystem_add_ns", nqn=SUBNQN, namespace={"bdev_name": "bytes"})
        await self.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=HOSTNQN)
        await self.call("nvmf_subsystem_add_listener", nqn=SUBNQN, listen_address=self.address)

    @property
    def subsystem(self) -> Subsystem:
        return self.emulator.target.subsystems[SUBNQN]

    @property
    def bdev(self) -> Bdev:
        found = self.emulator.bdevs.find("bytes")
        assert found is not None
        return found

    async def controllers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.call("nvmf_subsystem_get_controllers", nqn=SUBNQN)
        return found

    async def open(self, path: Path | None = None, *, depth: int = 32, digests: bool = False) -> HostQueue:
        """A connection that is initialized, and nobody's."""
        loop = asyncio.get_running_loop()
        queue = HostQueue(depth=depth, hdgst=digests, ddgst=digests, on_lost=self.lost.append)
        if path is not None:
            await loop.create_unix_connection(lambda: queue, str(path))
        else:
            await loop.create_connection(lambda: queue, "127.0.0.1", self.port)
        self._queues.append(queue)
        await queue.initialized()
        return queue

    async def queue(
        self,
        *,
        path: Path | None = None,
        qid: int = 0,
        sqsize: int = 31,
        kato: int = 0,
        cntlid: int = ANY_CNTLID,
        hostnqn: str = HOSTNQN,
        subnqn: str = SUBNQN,
        hostid: UUID = HOSTID,
        recfmt: int = 0,
    ) -> tuple[HostQueue, int]:
        """A connected queue, and what Connect gave."""
        queue = await self.open(path)
        data = ConnectData(hostid.bytes, cntlid, subnqn, hostnqn).encode()
        result = await queue.execute(Connect(qid, sqsize, kato, 0x04, recfmt).command(), data=data)
        if qid:
            queue.in_capsule_size = IN_CAPSULE
        return queue, result

    async def connect(self, *, enable: bool = True, **who: Any) -> Session:
        admin, cntlid = await self.queue(**who)
        session = Session(self, admin, cntlid, who.get("hostnqn", HOSTNQN), who.get("subnqn", SUBNQN))
        if enable:
            await session.enable()
        return session

    async def io(self) -> HostQueue:
        return await (await self.connect()).io_queue()

    def close(self) -> None:
        for queue in self._queues:
            queue.abort()
        self.emulator.close()


async def refusal(work: Awaitable[Any]) -> Status:
    """The status that it fails with; NvmeError's result is compared by those who care."""
    try:
        await work
    except NvmeError as refused:
        return refused.status
    raise AssertionError("it was not refused")


def io(opcode: IoOpcode, slba: int = 0, blocks: int = 1, nsid: int = 1, flags: int = 0) -> Command:
    return Command(opcode, nsid=nsid, cdw10=slba, cdw12=blocks - 1 | flags)


async def read(queue: HostQueue, slba: int, blocks: int = 1, nsid: int = 1) -> bytes:
    into = bytearray(blocks * BLOCK)
    await queue.execute(io(IoOpcode.READ, slba, blocks, nsid), into=into)
    return bytes(into)


async def write(queue: HostQueue, slba: int, data: bytes, nsid: int = 1) -> None:
    await queue.execute(io(IoOpcode.WRITE, slba, len(data) // BLOCK, nsid), data=data)
