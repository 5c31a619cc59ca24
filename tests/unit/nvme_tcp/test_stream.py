"""What is no PDU: the error says how to end the connection, and garbage never does more than that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.nvme_tcp.test_pdu import framings, from_controller, from_host

from dpucsi.nvme_tcp.command import Command
from dpucsi.nvme_tcp.pdu import (
    PLAIN,
    CapsuleCmd,
    Fes,
    Framing,
    H2CData,
    ICReq,
    ICResp,
    Pdu,
    PduType,
    encode,
)
from dpucsi.nvme_tcp.stream import PduError, PduReader, Role


def wire(pdu: Pdu, framing: Framing = PLAIN) -> bytearray:
    return bytearray(b"".join(bytes(part) for part in encode(pdu, framing)))


def reader(framing: Framing = PLAIN, role: Role = Role.CONTROLLER) -> PduReader:
    made = PduReader(role, data_max=64)
    list(made.feed(wire(ICReq() if role is Role.CONTROLLER else ICResp())))
    made.framing = framing
    return made


CAPSULE = wire(CapsuleCmd(Command(1), b"A" * 8))


def changed(place: int, value: int, of: bytes | bytearray = CAPSULE) -> bytes:
    made = bytearray(of)
    made[place] = value
    return bytes(made)


@pytest.mark.parametrize(
    ("data", "fes", "fei"),
    [
        (changed(0, 0x08), Fes.INVALID_HEADER_FIELD, 0),
        (changed(0, 0xFF), Fes.INVALID_HEADER_FIELD, 0),
        (changed(0, PduType.C2H_DATA), Fes.INVALID_HEADER_FIELD, 0),
        (changed(1, 1), Fes.INVALID_HEADER_FIELD, 1),
        (changed(1, 2), Fes.INVALID_HEADER_FIELD, 1),
        (changed(2, 71), Fes.INVALID_HEADER_FIELD, 2),
        (changed(3, 71), Fes.INVALID_HEADER_FIELD, 3),
        (changed(3, 73), Fes.INVALID_HEADER_FIELD, 3),
        (changed(3, 84), Fes.INVALID_HEADER_FIELD, 4),
        (changed(4, 71), Fes.INVALID_HEADER_FIELD, 4),
        (changed(4, 0), Fes.INVALID_HEADER_FIELD, 4),
        (changed(7, 0xFF), Fes.INVALID_HEADER_FIELD, 4),
        (wire(H2CData(1, 1, 0, b"A" * 65)), Fes.LIMIT_EXCEEDED, 0),
        (changed(16, 9, wire(H2CData(1, 1, 0, b"A" * 8))), Fes.INVALID_HEADER_FIELD, 16),
        (changed(4, 24, wire(H2CData(1, 1, 0, b"A" * 8))), Fes.INVALID_HEADER_FIELD, 4),
        (wire(ICReq()), Fes.SEQUENCE_ERROR, 0),
    ],
)
def test_what_a_host_may_not_send(data: bytes, fes: Fes, fei: int) -> None:
    with pytest.raises(PduError) as caught:
        list(reader().feed(data))
    assert (caught.value.fes, caught.value.fei) == (fes, fei)
    assert bytes(data).startswith(caught.value.header)
    assert len(caught.value.header) >= 8


@pytest.mark.parametrize("role", Role)
def test_nothing_goes_before_the_initialization(role: Role) -> None:
    fresh = PduReader(role, data_max=64)
    with pytest.raises(PduError) as caught:
        list(fresh.feed(CAPSULE if role is Role.CONTROLLER else bytes([5, 0, 24, 0, 24, 0, 0, 0])))
    assert caught.value.fes is Fes.SEQUENCE_ERROR


def test_a_wrong_header_digest_is_fatal_and_is_given_back() -> None:
    framing = Framing(header_digest=True)
    data = wire(CapsuleCmd(Command(1)), framing)
    data[20] ^= 1
    with pytest.raises(PduError) as caught:
        list(reader(framing).feed(data))
    assert caught.value.fes is Fes.HEADER_DIGEST_ERROR
    assert caught.value.fei == int.from_bytes(data[72:76], "little")
    assert caught.value.header == bytes(data[:72])


def test_the_header_alone_is_enough_to_refuse() -> None:
    with pytest.raises(PduError):
        list(reader().feed(changed(7, 0xFF)[:8]))


def test_pdus_before_the_error_are_given() -> None:
    seen = []
    with pytest.raises(PduError):
        for pdu in reader().feed(bytes(CAPSULE) + changed(2, 1)):
            seen.append(pdu)
    assert len(seen) == 1


@given(st.sampled_from(Role), framings, st.lists(st.binary(max_size=200), max_size=8))
def test_garbage_raises_or_waits(role: Role, framing: Framing, pieces: list[bytes]) -> None:
    given_reader = reader(framing, role)
    try:
        for piece in pieces:
            list(given_reader.feed(piece))
    except PduError as wrong:
        assert 1 <= wrong.fes <= 6
        assert len(wrong.header) <= 128


@given(st.one_of(from_host, from_controller), framings, st.data())
def test_one_wrong_byte_raises_or_is_another_pdu(pdu: Pdu, framing: Framing, data: st.DataObject) -> None:
    made = wire(pdu, framing)
    place = data.draw(st.integers(0, len(made) - 1))
    made[place] ^= data.draw(st.integers(1, 255))
    for role in Role:
        try:
            seen = list(reader(framing, role).feed(made))
        except PduError:
            continue
        assert len(seen) <= 1 or place in (4, 5, 6, 7)
