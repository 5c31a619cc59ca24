"""The fence: after its answer not one byte of the fenced host is written any more, whatever was under way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from tests.unit.spdk_emulator.target_rig import BLOCK, BLOCKS, HOSTNQN, OTHER, SUBNQN, Rig, io, read, until, write

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import IoOpcode
from dpucsi.nvme_tcp.host_queue import ConnectionLostError, HostQueue
from dpucsi.nvme_tcp.status import NvmeError
from spdk_emulator.bdev.io import BlockIo

Fence = Callable[[Rig], Coroutine[Any, Any, Any]]


async def remove_host(rig: Rig) -> Any:
    return await rig.call("nvmf_subsystem_remove_host", nqn=SUBNQN, host=HOSTNQN)


async def remove_listener(rig: Rig) -> Any:
    return await rig.call("nvmf_subsystem_remove_listener", nqn=SUBNQN, listen_address=rig.address)


async def delete_subsystem(rig: Rig) -> Any:
    return await rig.call("nvmf_delete_subsystem", nqn=SUBNQN)


FENCES = pytest.mark.parametrize("fence", [remove_host, remove_listener, delete_subsystem])


class SlowIo:
    """Counts the bytes that reach the bdev, and holds writes until `gate` is open."""

    def __init__(self, inner: BlockIo) -> None:
        self._inner = inner
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = 0
        self.written = 0

    async def read(self, offset: int, length: int) -> bytes:
        return await self._inner.read(offset, length)

    async def write(self, offset: int, data: Buffer) -> None:
        self.held += 1
        try:
            await self.gate.wait()
            await self._inner.write(offset, data)
            self.written += len(data)
        finally:
            self.held -= 1

    async def flush(self) -> None:
        await self._inner.flush()

    async def unmap(self, offset: int, length: int) -> None:
        await self._inner.unmap(offset, length)

    async def write_zeroes(self, offset: int, length: int) -> None:
        await self.gate.wait()
        await self._inner.write_zeroes(offset, length)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.make()
    await rig.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=OTHER)
    yield rig
    rig.close()


@pytest.fixture
def slow(rig: Rig) -> SlowIo:
    slow = SlowIo(rig.bdev.io)
    rig.bdev.io = slow
    return slow


async def hammer(queue: HostQueue, size: int) -> int:
    """Writes until it is cut; how many writes were answered."""
    answered = 0
    while True:
        try:
            await write(queue, answered * size % BLOCKS, b"x" * BLOCK * size)
        except (ConnectionLostError, NvmeError):
            return answered
        answered += 1


@FENCES
@pytest.mark.parametrize("blocks", [1, 16], ids=["in capsule", "with R2T"])
async def test_no_byte_is_written_after_the_answer(rig: Rig, slow: SlowIo, fence: Fence, blocks: int) -> None:
    session = await rig.connect()
    queues = [await session.io_queue(qid) for qid in (1, 2)]
    writers = [asyncio.create_task(hammer(queue, blocks)) for queue in queues for _ in range(8)]
    await until(lambda: slow.written > 64 * BLOCK * blocks, "writing")
    await fence(rig)
    written, seen = slow.written, await rig.bdev.io.read(0, rig.bdev.size)
    assert slow.held == 0
    await asyncio.gather(*writers)
    await until(lambda: session.admin.is_lost and all(queue.is_lost for queue in queues), "the cut")
    assert slow.written - written == 0
    assert await rig.bdev.io.read(0, rig.bdev.size) == seen


@FENCES
async def test_the_answer_waits_for_what_is_under_way(rig: Rig, slow: SlowIo, fence: Fence) -> None:
    session = await rig.connect()
    queue = await session.io_queue()
    slow.gate.clear()
    writers = [asyncio.create_task(hammer(queue, 1)) for _ in range(4)]
    await until(lambda: slow.held == 4, "four writes under way")
    fencing = asyncio.create_task(fence(rig))
    await asyncio.gather(*writers)
    await until(lambda: session.admin.is_lost, "the cut")
    assert not fencing.done()
    assert [entry["cntlid"] for entry in await rig.controllers()] == [session.cntlid]
    slow.gate.set()
    assert await fencing is True
    assert (slow.held, slow.written) == (0, 4 * BLOCK)


async def test_writes_that_were_not_begun_never_are(rig: Rig, slow: SlowIo) -> None:
    """The host has sent the commands, and some of their data: nothing of them is done."""
    session = await rig.connect()
    queue = await session.io_queue()
    half = asyncio.create_task(queue.execute(io(IoOpcode.WRITE, 0, 8), data=b"y" * 8 * BLOCK))
    await remove_host(rig)
    with pytest.raises(ConnectionLostError):
        await half
    assert slow.written == 0
    assert await rig.controllers() == []


async def test_the_other_host_goes_on(rig: Rig, slow: SlowIo) -> None:
    fenced, other = await rig.connect(), await rig.connect(hostnqn=OTHER)
    queue = await fenced.io_queue()
    going = await other.io_queue()
    writers = [asyncio.create_task(hammer(queue, 1)) for _ in range(4)]
    await until(lambda: slow.written > 16 * BLOCK, "writing")
    await remove_host(rig)
    await asyncio.gather(*writers)
    await write(going, 7, b"o" * BLOCK)
    assert await read(going, 7) == b"o" * BLOCK
    assert [entry["hostnqn"] for entry in await rig.controllers()] == [OTHER]


async def test_a_fenced_host_stays_out_until_it_is_let_in(rig: Rig) -> None:
    await rig.connect()
    await remove_host(rig)
    with pytest.raises(NvmeError):
        await rig.connect()
    await rig.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=HOSTNQN)
    await rig.connect()


async def test_an_io_queue_that_comes_late_is_refused(rig: Rig, slow: SlowIo) -> None:
    """The fence waits for a write, and meanwhile the host tries to add a queue to its dying controller."""
    session = await rig.connect()
    queue = await session.io_queue()
    slow.gate.clear()
    writer = asyncio.create_task(hammer(queue, 1))
    await until(lambda: slow.held == 1, "a write under way")
    await rig.call("nvmf_subsystem_add_host", nqn=SUBNQN, host="nqn.2024-01.io.example:third")
    fencing = asyncio.create_task(remove_host(rig))
    await writer
    await rig.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=HOSTNQN)
    with pytest.raises(NvmeError):
        await session.io_queue(2)
    slow.gate.set()
    await fencing


async def test_removing_a_namespace_waits_for_its_commands(rig: Rig, slow: SlowIo) -> None:
    queue = await rig.io()
    slow.gate.clear()
    writer = asyncio.create_task(hammer(queue, 1))
    await until(lambda: slow.held == 1, "a write under way")
    removing = asyncio.create_task(rig.call("nvmf_subsystem_remove_ns", nqn=SUBNQN, nsid=1))
    with pytest.raises(NvmeError):
        await read(queue, 0)
    assert not removing.done()
    slow.gate.set()
    assert await removing is True
    assert await writer == 1
    assert slow.written == BLOCK
