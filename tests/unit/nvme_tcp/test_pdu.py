"""Every PDU goes through bytes and comes back, in any pieces, with and without digests."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpucsi.nvme_tcp.command import Command, Completion, Sgl
from dpucsi.nvme_tcp.digest import crc32c
from dpucsi.nvme_tcp.pdu import (
    PLAIN,
    R2T,
    C2HData,
    C2HTermReq,
    CapsuleCmd,
    CapsuleResp,
    Framing,
    H2CData,
    H2CTermReq,
    ICReq,
    ICResp,
    Pdu,
    encode,
)
from dpucsi.nvme_tcp.status import Status
from dpucsi.nvme_tcp.stream import PduReader, Role

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
payloads = st.binary(max_size=300)
some = st.binary(min_size=1, max_size=300)
sgls = st.builds(Sgl, u8, u32, u64)
commands = st.builds(Command, u8, u16, u32, sgls, u32, u32, u32, u32, u32, u32, u8, u32, u32, u64)
statuses = st.builds(Status, st.integers(0, 7), u8)
completions = st.builds(Completion, u16, statuses, u64, u16, u16, st.booleans(), st.booleans(), st.integers(0, 3))
headers = st.binary(max_size=128)
framings = st.builds(Framing, st.booleans(), st.booleans(), st.integers(1, 32).map(lambda dwords: dwords * 4))
from_host = st.one_of(
    st.builds(CapsuleCmd, commands, payloads),
    st.builds(H2CData, u16, u16, u32, some, st.booleans()),
    st.builds(H2CTermReq, u16, u32, headers),
)
from_controller = st.one_of(
    st.builds(CapsuleResp, completions),
    st.builds(C2HData, u16, u32, some, st.booleans(), st.booleans()),
    st.builds(R2T, u16, u16, u32, u32),
    st.builds(C2HTermReq, u16, u32, headers),
)
ic_requests = st.builds(ICReq, u16, u8, st.booleans(), st.booleans(), u32)
ic_responses = st.builds(ICResp, u16, u8, st.booleans(), st.booleans(), u32)


def through(role: Role, first: Pdu, pdus: Sequence[Pdu], framing: Framing, cuts: Sequence[int]) -> list[Pdu]:
    """What a reader gives of these PDUs, fed in pieces of the sizes `cuts` and then the rest."""
    reader = PduReader(role, data_max=1024)
    seen = list(reader.feed(b"".join(encode(first))))
    reader.framing = framing
    wire = b"".join(bytes(part) for pdu in pdus for part in encode(pdu, framing))
    for size in cuts:
        seen += reader.feed(wire[:size])
        wire = wire[size:]
    return [*seen, *reader.feed(wire)]


@given(ic_requests, st.lists(from_host, max_size=6), framings, st.lists(st.integers(0, 97), max_size=20))
def test_what_a_host_sends(first: ICReq, pdus: list[Pdu], framing: Framing, cuts: list[int]) -> None:
    assert through(Role.CONTROLLER, first, pdus, framing, cuts) == [first, *pdus]


@given(ic_responses, st.lists(from_controller, max_size=6), framings, st.lists(st.integers(0, 97), max_size=20))
def test_what_a_controller_sends(first: ICResp, pdus: list[Pdu], framing: Framing, cuts: list[int]) -> None:
    assert through(Role.HOST, first, pdus, framing, cuts) == [first, *pdus]


def test_one_byte_at_a_time() -> None:
    pdus: list[Pdu] = [CapsuleCmd(Command(1, cid=7), b"x" * 33), H2CData(7, 1, 33, b"y" * 5)]
    assert through(Role.CONTROLLER, ICReq(), pdus, Framing(True, True, 64), [1] * 400) == [ICReq(), *pdus]


# Written out by hand from the figures of the transport specification (sections 3.6.2.1 to 3.6.2.9).
KNOWN: list[tuple[Pdu, Framing, str]] = [
    (ICReq(header_digest=True, maxr2t=3), PLAIN, "00 00 80 00 80000000 0000 00 01 03000000" + "00" * 112),
    (ICResp(data_digest=True, maxh2cdata=0x20000), PLAIN, "01 00 80 00 80000000 0000 00 02 00000200" + "00" * 112),
    (C2HTermReq(1, 2, b"\x44\x45"), PLAIN, "03 00 18 00 1a000000 0100 02000000" + "00" * 10 + "4445"),
    (R2T(5, 6, 7, 8), PLAIN, "09 00 18 00 18000000 0500 0600 07000000 08000000 00000000"),
    (C2HData(5, 8, b"AB", is_success=True), PLAIN, "07 0c 18 18 1a000000 0500 0000 08000000 02000000 00000000 4142"),
    (
        H2CData(5, 6, 0, b"AB", is_last=False),
        Framing(alignment=16),
        "06 00 18 20 22000000 0500 0600 00000000 02000000 00000000" + "00" * 8 + "4142",
    ),
    (
        CapsuleResp(Completion(9, Status(1, 0x84), 3, 1, 2, dnr=True)),
        PLAIN,
        "05 00 18 00 18000000 0300000000000000 0100 0200 0900 0883",
    ),
    (
        CapsuleCmd(Command(2, 9, 1, Sgl.transport(512), cdw12=7)),
        PLAIN,
        "04 00 48 00 48000000 02 40 0900 01000000" + "00" * 24 + "00020000 0000005a" + "00" * 8 + "07" + "00" * 15,
    ),
]


@pytest.mark.parametrize(("pdu", "framing", "wire"), KNOWN)
def test_the_bytes_are_those_of_the_specification(pdu: Pdu, framing: Framing, wire: str) -> None:
    assert b"".join(bytes(part) for part in encode(pdu, framing)).hex() == wire.replace(" ", "")


def test_digests_are_crc32c_and_stand_behind_header_and_data() -> None:
    assert crc32c(b"1234", b"56789") == 0xE3069283  # the check value of CRC-32/ISCSI
    wire = b"".join(bytes(part) for part in encode(C2HData(1, 0, b"A" * 8), Framing(True, True, 32)))
    assert wire[1] == 0x07  # last, both digests
    assert int.from_bytes(wire[24:28], "little") == crc32c(wire[:24])
    assert wire[28:40] == bytes(4) + b"A" * 8
    assert int.from_bytes(wire[40:], "little") == crc32c(b"A" * 8)
    assert int.from_bytes(wire[4:8], "little") == len(wire) == 44


def test_a_changed_byte_of_data_is_noticed_and_is_not_fatal() -> None:
    reader = PduReader(Role.CONTROLLER, data_max=64)
    list(reader.feed(b"".join(encode(ICReq()))))
    reader.framing = Framing(data_digest=True)
    wire = bytearray(b"".join(bytes(part) for part in encode(H2CData(1, 1, 0, b"A" * 8), reader.framing)))
    wire[-5] ^= 1
    (pdu,) = reader.feed(wire)
    assert isinstance(pdu, H2CData)
    assert not pdu.is_intact
