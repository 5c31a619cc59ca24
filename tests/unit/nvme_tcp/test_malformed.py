"""A host that breaks the rules ends its own connection, with the words of the specification, and nobody else's."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.unit.nvme_tcp.malformed import CARRIER, DATA, FIRST, HEADER_DIGEST, LATER, TRANSFER, Case, DataCase, Said

from dpucsi.testing import raw_pdus as raw
from dpucsi.testing.raw_peer import NoAnswerError, RawPeer
from dpucsi.testing.raw_target import HOSTNQN, NUM_BLOCKS, SUBNQN, Canary, RawTarget

pytestmark = pytest.mark.asyncio(loop_scope="module")

TERM_HEADER, TERM_MAX = 24, 152
SGL_TYPE_INVALID, SGL_LENGTH_INVALID, SGL_OFFSET_INVALID = (0, 0x11), (0, 0x0F), (0, 0x16)
INVALID_FIELD, COMMAND_SEQUENCE, TRANSIENT_TRANSPORT = (0, 0x02), (0, 0x0C), (0, 0x22)
LBA_OUT_OF_RANGE, INVALID_NAMESPACE, ID_CONFLICT = (0, 0x80), (0, 0x0B), (0, 0x03)
INVALID_QUEUE, INVALID_PARAMETERS, INVALID_HOST = (1, 0x01), (1, 0x82), (1, 0x84)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def target() -> AsyncIterator[RawTarget]:
    """An emulator of its own; it must outlive everything here and end in order."""
    with tempfile.TemporaryDirectory(prefix="raw-") as folder:
        target = RawTarget(Path(folder))
        await target.start()
        yield target
        await target.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def canary(target: RawTarget) -> AsyncIterator[Canary]:
    """Another host, connected all the time."""
    canary = await Canary.connect(target)
    yield canary
    canary.close()


async def terminated(peer: RawPeer, sent: bytes, said: Said) -> None:
    """The controller says one of `said`, shows the header of what was `sent`, and ends the connection."""
    came = await peer.receive()
    assert came.kind == raw.C2H_TERM, f"a PDU of type {came.kind} and no termination request: {came.header.hex()}"
    assert came.termination in said
    assert (came.flags, len(came.header)) == (0, TERM_HEADER)
    assert 8 <= len(came.data) <= TERM_MAX - TERM_HEADER
    assert sent.startswith(came.data), "not the header of the PDU in error"
    peer.send(raw.capsule(raw.KEEP_ALIVE, cid=1))  # nothing is processed any more
    await peer.ended()
    peer.close()


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.name)
async def test_a_wrong_beginning(target: RawTarget, canary: Canary, case: Case) -> None:
    peer = await target.open()
    await terminated(peer, peer.send(case.pdu), case.said)
    await canary.sing()


@pytest.mark.parametrize("case", LATER, ids=lambda case: case.name)
async def test_a_wrong_pdu_on_an_admin_queue(target: RawTarget, canary: Canary, case: Case) -> None:
    peer, _ = await target.admin_queue()
    await terminated(peer, peer.send(case.pdu), case.said)
    await canary.sing()


@pytest.mark.parametrize("case", DATA, ids=lambda case: case.name)
async def test_wrong_data_for_a_transfer(target: RawTarget, canary: Canary, case: DataCase) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    before = await peer.read(0, TRANSFER)
    peer.send(raw.write(cid=7, slba=0, length=TRANSFER))
    ttag, offset, length = (await peer.receive()).r2t
    assert (offset, length) == (0, TRANSFER)
    sent = [peer.send(pdu) for pdu in case.make(7, ttag, offset, length)]
    await terminated(peer, sent[-1], case.said)
    other, cntlid = await target.admin_queue()
    again = await target.io_queue(cntlid)
    assert await again.read(0, TRANSFER) == before, "bytes of a write that never was complete"
    for each in (admin, other, again):
        each.close()
    await canary.sing()


async def test_data_beyond_what_one_pdu_may_have(target: RawTarget, canary: Canary) -> None:
    _, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    too_much = peer.maxh2cdata + 4096
    sent = peer.send(raw.h2c_data(7, 1, 0, bytes(too_much)))
    await terminated(peer, sent, frozenset({(5, 0), (1, 4), (1, 16), (1, 10), (2, 0)}))
    await canary.sing()


async def test_data_of_a_transfer_that_is_over(target: RawTarget, canary: Canary) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    peer.send(raw.write(cid=7, slba=0, length=TRANSFER))
    ttag, _, _ = (await peer.receive()).r2t
    peer.send(raw.h2c_data(7, ttag, 0, bytes(TRANSFER)))
    assert (await peer.receive()).status == (0, 0)
    sent = peer.send(raw.h2c_data(7, ttag, 0, bytes(TRANSFER)))
    await terminated(peer, sent, frozenset({(1, 10), (1, 8), (2, 0)}))
    admin.close()
    await canary.sing()


@pytest.mark.parametrize("plen", [8, 23, 153, 0xFFFFFFFF])
async def test_a_termination_request_of_a_wrong_length_is_not_argued_with(
    target: RawTarget, canary: Canary, plen: int
) -> None:
    """Section 3.5: it ends the connection without an answer, as a right one does."""
    peer, _ = await target.admin_queue()
    peer.send(raw.term_req(1, 0, bytes(72)).but(plen=plen))
    await peer.ended()
    await canary.sing()


async def test_a_termination_request_ends_the_connection_without_an_answer(target: RawTarget, canary: Canary) -> None:
    peer, _ = await target.admin_queue()
    peer.send(raw.term_req(2, 0, bytes(24)))
    await peer.ended()
    await canary.sing()


async def test_a_wrong_header_digest_is_fatal_and_shown(target: RawTarget, canary: Canary) -> None:
    peer, _ = await target.admin_queue(digests=3)
    pdu = raw.capsule(raw.KEEP_ALIVE, cid=7).but(is_header_damaged=True)
    sent = peer.send(pdu)
    await terminated(peer, sent, frozenset({(HEADER_DIGEST, int.from_bytes(sent[72:76], "little"))}))
    await canary.sing()


@pytest.mark.parametrize("flags", [0, raw.DDGSTF, raw.HDGSTF], ids=["none", "data only", "header only"])
async def test_a_digest_that_was_agreed_on_must_be_there(target: RawTarget, canary: Canary, flags: int) -> None:
    peer, _ = await target.admin_queue(digests=3)
    await terminated(peer, peer.send(CARRIER.but(flags=flags)), frozenset({(1, 1)}))
    await canary.sing()


async def test_a_wrong_data_digest_fails_its_command_alone(target: RawTarget, canary: Canary) -> None:
    """Section 3.3.1.1: not fatal; nothing is written."""
    admin, cntlid = await target.admin_queue(digests=3)
    peer = await target.io_queue(cntlid, digests=3)
    before = await peer.read(8, 2 * TRANSFER)
    in_capsule = raw.write(cid=7, slba=8, data=b"e" * 4096).but(is_data_damaged=True)
    assert (await peer.ask(in_capsule)).status == TRANSIENT_TRANSPORT
    peer.send(raw.write(cid=8, slba=8, length=TRANSFER))
    ttag, _, _ = (await peer.receive()).r2t
    peer.send(
        raw.h2c_data(8, ttag, 0, b"e" * 4096, is_last=False).but(is_data_damaged=True),
        raw.h2c_data(8, ttag, 4096, b"e" * (TRANSFER - 4096)),
    )
    assert (await peer.receive()).status == TRANSIENT_TRANSPORT
    assert await peer.read(8, 2 * TRANSFER) == before
    assert await peer.write(8, before) == (0, 0)
    peer.close()
    admin.close()
    await canary.sing()


@pytest.mark.parametrize(
    ("sgl", "status"),
    [
        ((0x00, 4096, 0), SGL_TYPE_INVALID),  # data block with an address
        ((0x20, 4096, 0), SGL_TYPE_INVALID),  # segment
        ((0x30, 4096, 0), SGL_TYPE_INVALID),  # last segment
        ((0x40, 4096, 0), SGL_TYPE_INVALID),  # keyed, as RDMA has them
        ((0xF0, 4096, 0), SGL_TYPE_INVALID),  # vendor specific
        ((raw.IN_CAPSULE, 4096, 64), SGL_OFFSET_INVALID),
        ((raw.IN_CAPSULE, 8192, 0), SGL_LENGTH_INVALID),
        ((raw.IN_CAPSULE, 512, 0), SGL_LENGTH_INVALID),
    ],
    ids=["address", "segment", "last segment", "keyed", "vendor", "offset", "too long", "too short"],
)
async def test_a_data_pointer_that_the_transport_does_not_have_fails_the_command(
    target: RawTarget, canary: Canary, sgl: tuple[int, int, int], status: tuple[int, int]
) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    before = await peer.read(0, 8192)
    command = raw.capsule(raw.WRITE, cid=7, nsid=1, cdws=(0, 0, 0), data=os.urandom(4096), sgl=sgl)
    assert (await peer.ask(command)).status == status
    assert await peer.read(0, 8192) == before
    peer.close()
    admin.close()
    await canary.sing()


async def test_data_that_is_not_what_the_command_says_is_not_written(target: RawTarget, canary: Canary) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    before = await peer.read(0, TRANSFER)
    for blocks in (2, 3, NUM_BLOCKS):  # one comes
        command = raw.capsule(raw.WRITE, cid=7, nsid=1, cdws=(0, 0, blocks - 1), data=b"n" * 4096)
        assert (await peer.ask(command)).status == SGL_LENGTH_INVALID
        command = raw.capsule(raw.READ, cid=8, nsid=1, cdws=(0, 0, blocks - 1), length=4096)
        assert (await peer.ask(command)).status == SGL_LENGTH_INVALID
    assert await peer.read(0, TRANSFER) == before
    peer.close()
    admin.close()
    await canary.sing()


@pytest.mark.parametrize(("nsid", "slba"), [(0, 0), (2, 0), (0xFFFFFFFF, 0), (1, NUM_BLOCKS), (1, (1 << 64) - 1)])
async def test_a_place_that_does_not_exist_is_refused(target: RawTarget, canary: Canary, nsid: int, slba: int) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    cdws = (slba & 0xFFFFFFFF, slba >> 32, 0)
    for command in (
        raw.capsule(raw.WRITE, cid=7, nsid=nsid, cdws=cdws, data=bytes(4096)),
        raw.capsule(raw.READ, cid=7, nsid=nsid, cdws=cdws, length=4096),
    ):
        assert (await peer.ask(command)).status == (LBA_OUT_OF_RANGE if nsid == 1 else INVALID_NAMESPACE)
    peer.close()
    admin.close()
    await canary.sing()


@pytest.mark.parametrize("hpda", [0, 1, 7, 31])
async def test_data_lies_where_the_host_wants_it(target: RawTarget, canary: Canary, hpda: int) -> None:
    """Section 3.6.2.2: HPDA is in dwords, 0's based, and is about every C2HData."""
    admin, cntlid = await target.admin_queue()
    peer = await target.open()
    await peer.initialize(digests=3, hpda=hpda)
    await peer.connect(SUBNQN, HOSTNQN, qid=1, cntlid=cntlid)
    peer.send(raw.read(cid=7, slba=0, length=4096))
    came = await peer.receive()
    assert came.kind == raw.C2H_DATA
    assert len(came.data) == 4096
    assert came.pdo % ((hpda + 1) * 4) == 0
    peer.close()
    admin.close()
    await canary.sing()


async def test_a_command_id_that_is_in_use_is_refused_and_harms_nothing(target: RawTarget, canary: Canary) -> None:
    peer, _ = await target.admin_queue()
    peer.send(raw.capsule(raw.ASYNC_EVENT, cid=7))  # answered when something happens, not before
    assert (await peer.ask(raw.capsule(raw.KEEP_ALIVE, cid=7))).status == ID_CONFLICT
    assert (await peer.ask(raw.capsule(raw.KEEP_ALIVE, cid=8))).status == (0, 0)
    peer.close()
    await canary.sing()


@pytest.mark.parametrize("flags", [0x00, 0x80, 0xC0], ids=["PRP", "SGL with metadata SGL", "reserved"])
async def test_a_command_without_an_sgl_fails(target: RawTarget, canary: Canary, flags: int) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.io_queue(cntlid)
    command = raw.capsule(raw.READ, cid=7, nsid=1, cdws=(0, 0, 0), length=4096, flags=flags)
    assert (await peer.ask(command)).status == INVALID_FIELD
    peer.close()
    admin.close()
    await canary.sing()


@pytest.mark.parametrize(
    "command",
    [
        raw.capsule(raw.KEEP_ALIVE, cid=7),
        raw.capsule(raw.IDENTIFY, cid=7, cdws=(1,), length=4096),
        raw.property_set(cid=7, offset=0x14, value=0x0046_0001),
        raw.read(cid=7, slba=0, length=4096),
    ],
    ids=["keep alive", "identify", "property set", "read"],
)
async def test_the_first_command_of_a_queue_is_connect(target: RawTarget, canary: Canary, command: raw.RawPdu) -> None:
    peer = await target.open()
    await peer.initialize()
    peer.send(command)
    try:
        came = await peer.receive()
    except NoAnswerError:
        await peer.ended()  # to end the connection is as good
    else:
        assert came.status == COMMAND_SEQUENCE
    peer.close()
    await canary.sing()


async def test_a_queue_is_connected_once(target: RawTarget, canary: Canary) -> None:
    peer, _ = await target.admin_queue()
    again = await peer.ask(raw.connect(cid=9, subnqn=SUBNQN, hostnqn=HOSTNQN))
    assert again.status == COMMAND_SEQUENCE
    peer.close()
    await canary.sing()


@pytest.mark.parametrize(
    "wrong",
    [
        {"qid": 1, "cntlid": 0xFFF0},  # no such controller
        {"qid": 1, "cntlid": 0xFFFF},  # an I/O queue of a controller that is yet to be chosen
        {"qid": 0xFFF0},
        {"sqsize": 0},
        {"sqsize": 0xFFFF},
        {"qid": 1, "hostnqn": f"{HOSTNQN}2"},
        {"qid": 1, "hostid": b"\2" * 16},
        {"subnqn": f"{SUBNQN}2"},
        {"subnqn": ""},
    ],
    ids=str,
)
async def test_a_wrong_connect_is_refused(target: RawTarget, canary: Canary, wrong: dict[str, object]) -> None:
    admin, cntlid = await target.admin_queue()
    peer = await target.open()
    await peer.initialize()
    given: dict[str, object] = {"cid": 7, "subnqn": SUBNQN, "hostnqn": HOSTNQN}
    if wrong.get("qid"):
        given["cntlid"] = cntlid
    came = await peer.ask(raw.connect(**given | wrong))  # type: ignore[arg-type]
    assert came.status in (INVALID_QUEUE, INVALID_PARAMETERS, INVALID_HOST)
    peer.close()
    admin.close()
    await canary.sing()
