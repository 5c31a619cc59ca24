"""The host's end of one queue against a controller that answers as the test wants."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.nvme_tcp.scripted_controller import BLOCK, Scripted, ScriptedQueue

from dpucsi.aio import wait_until
from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.command import Command, Completion, IoOpcode
from dpucsi.nvme_tcp.fabrics import Connect, ConnectData
from dpucsi.nvme_tcp.host_io import over_blocks
from dpucsi.nvme_tcp.host_queue import ConnectionLostError, HostQueue
from dpucsi.nvme_tcp.pdu import (
    COMMON,
    HEADER_SIZES,
    R2T,
    C2HData,
    C2HTermReq,
    CapsuleResp,
    Fes,
    ICResp,
    PduType,
    encode,
)
from dpucsi.nvme_tcp.status import NvmeError

PATIENCE_S = 5


class Rig:
    """One I/O queue, connected; `losses`: what its owner was told."""

    def __init__(self) -> None:
        self.controller = Scripted()
        self.losses: list[str] = []
        self.queues: list[HostQueue] = []

    async def open(self, *, depth: int = 8, digests: bool = False, qid: int = 1) -> HostQueue:
        queue = HostQueue(depth=depth, hdgst=digests, ddgst=digests, on_lost=self.losses.append)
        self.queues.append(queue)
        await self.controller.dial(lambda: queue)
        async with asyncio.timeout(PATIENCE_S):
            await queue.initialized()
            data = ConnectData(bytes(16), 1, "nqn.2024-01.io.example:s", "nqn.2024-01.io.example:h").encode()
            await queue.execute(Connect(qid, depth - 1).command(), data=data)
        queue.in_capsule_size = 4096
        return queue

    async def read(self, queue: HostQueue, block: int, blocks: int = 1) -> bytes:
        into = bytearray(blocks * BLOCK)
        await queue.execute(over_blocks(IoOpcode.READ, 1, BLOCK, block * BLOCK, len(into)), into=into)
        return bytes(into)

    async def write(self, queue: HostQueue, block: int, data: bytes | bytearray) -> None:
        await queue.execute(over_blocks(IoOpcode.WRITE, 1, BLOCK, block * BLOCK, len(data)), data=data)

    async def held(self, count: int) -> list[Command]:
        async def look() -> list[Command] | None:
            waiting = self.far.waiting
            return list(waiting) if len(waiting) == count else None

        return await wait_until(look, f"{count} commands at the controller", timeout_s=PATIENCE_S)

    @property
    def far(self) -> ScriptedQueue:
        return self.controller.io_queue


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.controller.listen()
    rig.controller.namespaces[1].data[:] = bytes(range(256)) * (rig.controller.namespaces[1].num_blocks * 2)
    yield rig
    for queue in rig.queues:
        queue.abort()
    await rig.controller.stop()


async def test_answers_in_any_order_reach_their_callers(rig: Rig) -> None:
    queue = await rig.open()
    rig.controller.held = {IoOpcode.READ}
    reads = [asyncio.ensure_future(rig.read(queue, block)) for block in range(7)]
    for command in reversed(await rig.held(7)):
        rig.far.answer(command, bytes([command.slba]) * BLOCK)
    assert [(await read)[0] for read in reads] == list(range(7))
    assert queue.num_in_flight == 0


async def test_a_full_queue_lets_the_next_command_wait(rig: Rig) -> None:
    queue = await rig.open(depth=3)
    rig.controller.held = {IoOpcode.READ}
    reads = [asyncio.ensure_future(rig.read(queue, block)) for block in range(3)]
    first, _ = await rig.held(2)
    rig.far.answer(first)
    await reads[0]
    await rig.held(2)
    assert [command.slba for command in rig.controller.commands] == [0, 1, 2]


async def test_a_command_keeps_its_id_when_its_caller_leaves(rig: Rig) -> None:
    queue = await rig.open(depth=3)
    rig.controller.held = {IoOpcode.READ}
    left = asyncio.ensure_future(rig.read(queue, 0))
    (orphan,) = await rig.held(1)
    left.cancel()
    await asyncio.wait((left,))
    assert left.cancelled() and queue.num_in_flight == 1
    for block in range(1, 5):  # the other id is used again and again, the orphan's never
        read = asyncio.ensure_future(rig.read(queue, block))
        command = (await rig.held(2))[-1]
        assert command.cid != orphan.cid
        rig.far.answer(command, bytes([block]) * BLOCK)
        assert await read == bytes([block]) * BLOCK
    both = [asyncio.ensure_future(rig.read(queue, block)) for block in (5, 6)]
    await rig.held(2)
    rig.far.answer(orphan, b"\xff" * BLOCK)
    await rig.held(2)
    for command in list(rig.far.waiting):
        rig.far.answer(command, bytes([command.slba]) * BLOCK)
    assert [(await read)[0] for read in both] == [5, 6]


async def test_a_caller_that_leaves_while_it_waits_for_a_place_sends_nothing(rig: Rig) -> None:
    queue = await rig.open(depth=2)
    rig.controller.held = {IoOpcode.READ}
    read, waiting = asyncio.ensure_future(rig.read(queue, 0)), asyncio.ensure_future(rig.read(queue, 1))
    (command,) = await rig.held(1)
    waiting.cancel()
    await asyncio.wait((waiting,))
    rig.far.answer(command)
    await read
    rig.controller.held.clear()
    await rig.read(queue, 2)
    assert [command.slba for command in rig.controller.commands] == [0, 2]


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("alignment", [0, 7, 31])
async def test_a_write_goes_out_in_the_pieces_that_are_asked_for(rig: Rig, digests: bool, alignment: int) -> None:
    rig.controller.agreement = ICResp(maxh2cdata=4096, cpda=alignment)
    rig.controller.r2t_size = 10_000
    queue = await rig.open(digests=digests)
    for size in (BLOCK, 4096, 4096 + BLOCK, 64 * BLOCK):
        data = bytes(number * 7 & 0xFF for number in range(size))
        await rig.write(queue, 3, data)
        assert rig.controller.namespaces[1].data[3 * BLOCK : 3 * BLOCK + size] == data
        assert await rig.read(queue, 3, size // BLOCK) == data


async def test_small_writes_bring_their_data_along(rig: Rig) -> None:
    queue = await rig.open()
    rig.controller.r2t_size = 0  # an R2T of nothing ends the connection
    await rig.write(queue, 0, bytes(4096))
    assert queue.num_in_flight == 0 and not queue.is_lost


async def test_data_of_a_write_is_what_it_was_when_its_caller_left(rig: Rig) -> None:
    queue = await rig.open()
    rig.controller.held = {IoOpcode.WRITE}
    data = bytearray(b"\x01" * 16 * BLOCK)
    write = asyncio.ensure_future(rig.write(queue, 0, data))
    (command,) = await rig.held(1)
    write.cancel()
    await asyncio.wait((write,))
    data[:] = b"\x02" * len(data)
    rig.far.ask(command, 0, len(data))

    async def arrived() -> bool | None:
        return True if not rig.far.waiting else None

    await wait_until(arrived, "the data", timeout_s=PATIENCE_S)
    assert rig.controller.namespaces[1].data[: len(data)] == b"\x01" * len(data)


@pytest.mark.parametrize("has_success_flag", [False, True])
async def test_a_read_comes_in_pieces(rig: Rig, has_success_flag: bool) -> None:
    queue = await rig.open(digests=True)
    rig.controller.c2h_size = 1000
    rig.controller.has_success_flag = has_success_flag
    assert await rig.read(queue, 0, 40) == bytes(range(256)) * 80
    assert queue.num_in_flight == 0


async def test_damaged_data_fails_the_command_and_nothing_else(rig: Rig) -> None:
    queue = await rig.open(digests=True)
    rig.controller.held = {IoOpcode.READ}
    read = asyncio.ensure_future(rig.read(queue, 0))
    (command,) = await rig.held(1)
    rig.far.waiting.clear()
    rig.far.send_damaged(C2HData(command.cid, 0, bytes(BLOCK)), at=-1)
    rig.far.send(CapsuleResp(Completion(command.cid)))
    with pytest.raises(NvmeError) as failed:
        await read
    assert failed.value.status == status.TRANSIENT_TRANSPORT_ERROR
    rig.controller.held.clear()
    assert await rig.read(queue, 0) == bytes(range(256)) * 2


async def test_less_data_than_asked_for_is_no_success(rig: Rig) -> None:
    queue = await rig.open()
    rig.controller.held = {IoOpcode.READ}
    read = asyncio.ensure_future(rig.read(queue, 0, 2))
    (command,) = await rig.held(1)
    rig.far.answer(command, bytes(BLOCK))
    with pytest.raises(NvmeError) as failed:
        await read
    assert failed.value.status == status.DATA_TRANSFER_ERROR


async def test_a_status_comes_with_its_retry_bit(rig: Rig) -> None:
    queue = await rig.open()
    rig.controller.failing[IoOpcode.READ] = NvmeError(status.LBA_OUT_OF_RANGE, dnr=True)
    with pytest.raises(NvmeError) as failed:
        await rig.read(queue, 0)
    assert failed.value.status == status.LBA_OUT_OF_RANGE and failed.value.dnr


READ_CID, WRITE_CID = 1, 2  # the third and second command after Connect
BROKEN_RULES = {
    "an answer to nothing": (CapsuleResp(Completion(6)), Fes.INVALID_HEADER_FIELD, 20),
    "data for nothing": (C2HData(6, 0, b"x" * BLOCK), Fes.INVALID_HEADER_FIELD, 8),
    "data out of order": (C2HData(READ_CID, BLOCK, b"x" * BLOCK), Fes.INVALID_HEADER_FIELD, 12),
    "too much data": (C2HData(READ_CID, 0, b"x" * 3 * BLOCK), Fes.DATA_OUT_OF_RANGE, 0),
    "data for a write": (C2HData(WRITE_CID, 0, b"x"), Fes.DATA_OUT_OF_RANGE, 0),
    "a read's data asked for": (R2T(READ_CID, 0, 0, BLOCK), Fes.DATA_OUT_OF_RANGE, 0),
    "data asked for out of order": (R2T(WRITE_CID, 0, BLOCK, BLOCK), Fes.INVALID_HEADER_FIELD, 12),
    "more data asked for than there is": (R2T(WRITE_CID, 0, 0, 17 * BLOCK), Fes.DATA_OUT_OF_RANGE, 0),
    "no data asked for": (R2T(WRITE_CID, 0, 0, 0), Fes.INVALID_HEADER_FIELD, 12),
    "a second agreement": (ICResp(), Fes.SEQUENCE_ERROR, 0),
}


@pytest.mark.parametrize("name", BROKEN_RULES)
async def test_a_controller_that_breaks_the_rules_is_told_and_left(rig: Rig, name: str) -> None:
    pdu, fes, fei = BROKEN_RULES[name]
    queue = await rig.open()
    rig.controller.held = {IoOpcode.READ, IoOpcode.WRITE}
    waiting = [
        asyncio.ensure_future(rig.read(queue, 0, 2)),
        asyncio.ensure_future(rig.write(queue, 0, bytes(16 * BLOCK))),
    ]
    commands = {command.cid: command.opcode for command in await rig.held(2)}
    assert commands == {READ_CID: IoOpcode.READ, WRITE_CID: IoOpcode.WRITE}
    far = rig.far
    far.send(pdu)
    for task in waiting:
        with pytest.raises(ConnectionLostError):
            await task

    async def told() -> bool | None:
        return True if far.terminated else None

    await wait_until(told, "a termination request", timeout_s=PATIENCE_S)
    assert [(term.fes, term.fei) for term in far.terminated] == [(fes, fei)]
    assert len(rig.losses) == 1
    with pytest.raises(ConnectionLostError):
        await rig.read(queue, 0)


async def test_a_damaged_header_is_the_end(rig: Rig) -> None:
    queue = await rig.open(digests=True)
    far = rig.far
    far.send_damaged(CapsuleResp(Completion(0)), at=8)
    with pytest.raises(ConnectionLostError):
        while True:
            await rig.read(queue, 0)

    async def told() -> bool | None:
        return True if far.terminated else None

    await wait_until(told, "a termination request", timeout_s=PATIENCE_S)
    assert far.terminated[0].fes == Fes.HEADER_DIGEST_ERROR


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=120)), max_size=6))
def test_whatever_comes_either_is_understood_or_ends_the_connection(noise: list[tuple[int, bytes]]) -> None:
    """PDUs that begin well, of any type, with anything in them."""
    asyncio.run(_hear(noise))


async def _hear(noise: list[tuple[int, bytes]]) -> None:
    losses: list[str] = []
    queue = HostQueue(depth=4, hdgst=False, ddgst=False, on_lost=losses.append)
    queue.connection_made(_Sink())
    queue.data_received(encode(ICResp())[0])  # type: ignore[arg-type]
    reads = [asyncio.ensure_future(queue.execute(Command(IoOpcode.READ), into=bytearray(8))) for _ in range(2)]
    await asyncio.sleep(0)
    for kind, body in noise:
        header_size = HEADER_SIZES.get(PduType(kind), 24) if kind in set(PduType) else 24
        length = max(header_size, 8 + len(body))
        header = COMMON.pack(kind, 0, header_size, header_size if length > header_size else 0, length)
        queue.data_received((header + body).ljust(length, b"\0"))
    queue.connection_lost(None)
    await asyncio.wait(reads)
    assert queue.num_in_flight == 0 and len(losses) == 1
    for read in reads:
        read.exception()


class _Sink(asyncio.Transport):
    """Takes everything."""

    def write(self, data: Any) -> None:
        """See asyncio.Transport."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio.Transport."""

    def close(self) -> None:
        """See asyncio.Transport."""

    def abort(self) -> None:
        """See asyncio.Transport."""


DISAGREEMENTS = {
    "version": (ICResp(pfv=1), 8),
    "alignment": (ICResp(cpda=32), 10),
    "a digest that nobody wanted": (ICResp(data_digest=True), 11),
    "too small a limit": (ICResp(maxh2cdata=2048), 12),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
async def test_what_cannot_be_agreed_on_ends_the_connection(rig: Rig, name: str) -> None:
    rig.controller.agreement, fei = DISAGREEMENTS[name]
    with pytest.raises(ConnectionLostError):
        await rig.open()

    async def told() -> list[tuple[int, int]] | None:
        return [(term.fes, term.fei) for term in rig.controller.terminated] or None

    assert await wait_until(told, "a termination request", timeout_s=PATIENCE_S) == [(Fes.INVALID_HEADER_FIELD, fei)]


async def test_a_termination_by_the_controller_is_the_end(rig: Rig) -> None:
    queue = await rig.open()
    rig.far.send(C2HTermReq(Fes.SEQUENCE_ERROR))
    with pytest.raises(ConnectionLostError):
        while True:
            await rig.read(queue, 0)
    assert len(rig.losses) == 1


async def test_a_lost_connection_ends_everything_that_waits(rig: Rig) -> None:
    queue = await rig.open(depth=3)
    rig.controller.held = {IoOpcode.READ}
    reads = [asyncio.ensure_future(rig.read(queue, block)) for block in range(4)]  # two of them without a place
    await rig.held(2)
    rig.controller.cut()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * 4
    assert len(rig.losses) == 1


async def test_our_own_end_is_no_loss(rig: Rig) -> None:
    queue = await rig.open()
    rig.controller.held = {IoOpcode.READ}
    read = asyncio.ensure_future(rig.read(queue, 0))
    await rig.held(1)
    queue.abort()
    with pytest.raises(ConnectionLostError):
        await read
    assert rig.losses == []


async def test_nothing_new_is_sent_to_a_peer_that_does_not_read(rig: Rig) -> None:
    queue = await rig.open()
    queue.pause_writing()
    read = asyncio.ensure_future(rig.read(queue, 0))
    rig.far.send(C2HTermReq(Fes.SEQUENCE_ERROR))  # comes after whatever had been sent
    with pytest.raises(ConnectionLostError):
        await read
    assert rig.controller.commands == []


async def test_what_waited_for_a_slow_peer_goes_out_when_it_reads_again(rig: Rig) -> None:
    queue = await rig.open()
    queue.pause_writing()
    reads = [asyncio.ensure_future(rig.read(queue, block)) for block in range(20)]
    await asyncio.sleep(0)
    assert queue.num_in_flight == 0
    queue.resume_writing()
    await asyncio.gather(*reads)
    assert len(rig.controller.commands) == 20
