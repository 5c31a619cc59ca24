"""Hosts that do not read, do not go on, or come in numbers: they wait for themselves, the others do not notice."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from dpucsi.testing import raw_pdus as raw
from dpucsi.testing.raw_pdus import RawPdu
from dpucsi.testing.raw_peer import RawPeer
from dpucsi.testing.raw_target import Canary, RawTarget

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
PROMPT_S = 2.0  # for two small I/Os; a stalled target takes for ever
GROWTH = 64 * MIB  # what one host may cost
IO = 128 << 10
PATIENCE_S = 8.0  # the sockets between two processes hold some 100,000 commands of 72 bytes: much less than a second


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def target() -> AsyncIterator[RawTarget]:
    with tempfile.TemporaryDirectory(prefix="raw-") as folder:
        target = RawTarget(Path(folder))
        await target.start()
        yield target
        await target.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def canary(target: RawTarget) -> AsyncIterator[Canary]:
    canary = await Canary.connect(target)
    yield canary
    canary.close()


async def fill(peer: RawPeer, make: Callable[[int], RawPdu]) -> None:
    """Sends commands until the target takes no more, or has thrown the host out for overfilling its queue."""
    peer.writer.transport.set_write_buffer_limits(high=0)
    burst = b"".join(make(number).encode() for number in range(1000))
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < end:
        peer.send(burst)
        try:
            async with asyncio.timeout(1.0):
                await peer.writer.drain()
        except (TimeoutError, OSError):
            return
        if peer.writer.transport.is_closing():
            return
        await asyncio.sleep(0)
    pytest.fail(f"commands were taken for {PATIENCE_S} s from a host that takes no answer")


@pytest.mark.parametrize(
    "make",
    [
        lambda number: raw.read(cid=number, slba=0, length=IO),
        lambda number: raw.read(cid=7, slba=0, length=IO),
    ],
    ids=["reads", "reads with the same id"],
)
async def test_a_host_that_never_reads_stalls_itself_alone(
    target: RawTarget, canary: Canary, make: Callable[[int], RawPdu]
) -> None:
    await canary.sing()
    before = target.resident()
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid, receive_buffer=4096)
    await fill(peer, make)
    for _ in range(20):
        assert await canary.sing() < PROMPT_S
    assert target.resident() - before < GROWTH
    peer.close()
    admin.close()
    assert await canary.sing() < PROMPT_S


async def test_a_full_queue_of_reads_that_nobody_takes_costs_little(target: RawTarget, canary: Canary) -> None:
    before = target.resident()
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid, receive_buffer=4096)
    for cid in range(31):
        peer.send(raw.read(cid=cid, slba=0, length=IO))
    for _ in range(20):
        assert await canary.sing() < PROMPT_S
    assert target.resident() - before < GROWTH
    peer.close()
    admin.close()
    assert await canary.sing() < PROMPT_S


async def test_a_host_that_reads_late_gets_everything(target: RawTarget, canary: Canary) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid, receive_buffer=4096)
    for cid in range(30):
        peer.send(raw.read(cid=cid, slba=0, length=IO))
    for _ in range(5):
        assert await canary.sing() < PROMPT_S
    got: dict[int, int] = {}
    while sum(got.values()) < 30 * IO:
        came = await peer.receive()
        if came.kind == raw.C2H_DATA:
            got[came.cid] = got.get(came.cid, 0) + len(came.data)
    assert got == dict.fromkeys(range(30), IO)
    peer.close()
    admin.close()


async def test_writes_whose_data_never_comes_cost_little(target: RawTarget, canary: Canary) -> None:
    before = target.resident()
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    for cid in range(31):
        peer.send(raw.write(cid=cid, slba=0, length=IO))
    assert (await peer.receive()).kind == raw.R2T
    for _ in range(5):
        assert await canary.sing() < PROMPT_S
    assert target.resident() - before < GROWTH
    peer.close()
    admin.close()


async def test_half_a_pdu_holds_nobody_up(target: RawTarget, canary: Canary) -> None:
    peers = []
    for end in (1, 7, 8, 64, 127):
        peer = await target.open()
        peer.send(raw.ic_req().encode()[:end])
        peers.append(peer)
    admin, _ = await target.admin_queue()
    admin.send(raw.capsule(raw.KEEP_ALIVE, cid=7).encode()[:40])
    for _ in range(5):
        assert await canary.sing() < PROMPT_S
    for peer in (*peers, admin):
        peer.close()


async def test_bytes_that_come_one_by_one_are_as_good(target: RawTarget, canary: Canary) -> None:
    admin, _ = await target.admin_queue(digests=3)
    for byte in raw.capsule(raw.KEEP_ALIVE, cid=7).encode(hdgst=True):
        admin.send(bytes([byte]))
        await admin.writer.drain()
        await asyncio.sleep(0)
    came = await admin.receive()
    assert (came.cid, came.status) == (7, (0, 0))
    admin.close()
    await canary.sing()


async def test_many_connections_that_say_nothing(target: RawTarget, canary: Canary) -> None:
    peers = [await target.open() for _ in range(200)]
    for _ in range(5):
        assert await canary.sing() < PROMPT_S
    for peer in peers:
        peer.close()
    assert await canary.sing() < PROMPT_S
