"""The data of commands on the controller's side, without a connection: in any pieces, and never too much at a time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpucsi.nvme_tcp.command import Command, IoOpcode, Sgl
from dpucsi.nvme_tcp.incoming import HELD_MAX, Arrived, Incoming
from dpucsi.nvme_tcp.pdu import R2T, CapsuleCmd, Fes, H2CData
from dpucsi.nvme_tcp.stream import PduError

MIB = 1 << 20


def incoming() -> Incoming:
    return Incoming(in_capsule_max=4096, data_max=MIB)


def begin(of: Incoming, cid: int, length: int) -> None:
    command = Command(IoOpcode.WRITE, cid=cid, nsid=1, sgl=Sgl.transport(length))
    assert of.begin(CapsuleCmd(command)) is None


@given(st.binary(min_size=1, max_size=200), st.data())
def test_data_in_any_pieces_is_the_data(data: bytes, draw: st.DataObject) -> None:
    of = incoming()
    begin(of, 7, len(data))
    (ask,) = of.asks()
    assert (ask.cccid, ask.r2to, ask.r2tl) == (7, 0, len(data))
    places = draw.draw(st.sets(st.integers(1, len(data)), max_size=5))
    cuts = [0, *sorted(places - {len(data)}), len(data)]
    found = [of.feed(H2CData(7, ask.ttag, one, data[one:two], two == len(data))) for one, two in pairwise(cuts)]
    *before, last = found
    assert before == [None] * (len(cuts) - 2)
    assert last is not None
    assert last.data == data


@given(st.lists(st.integers(1, MIB), min_size=1, max_size=40))
def test_no_more_is_asked_for_than_may_be_held(lengths: list[int]) -> None:
    of, asked, served = incoming(), list[R2T](), 0
    for cid, length in enumerate(lengths):
        begin(of, cid, length)
        asked += of.asks()
    while asked:
        assert sum(ask.r2tl for ask in asked) <= HELD_MAX
        ask = asked.pop(0)
        arrived = of.feed(H2CData(ask.cccid, ask.ttag, 0, bytes(ask.r2tl)))
        assert isinstance(arrived, Arrived)
        of.done(arrived)
        served += 1
        asked += of.asks()
    assert served == len(lengths)


def test_a_command_nobody_asked_data_for_can_be_dropped() -> None:
    of = incoming()
    for cid in range(12):
        begin(of, cid, MIB)
    assert len(of.asks()) == HELD_MAX // MIB
    assert of.drop_waiting(11)
    assert not of.drop_waiting(11)
    assert not of.drop_waiting(0)


@pytest.mark.parametrize(
    ("pdu", "fes", "fei"),
    [
        (H2CData(7, 2, 0, bytes(8)), Fes.INVALID_HEADER_FIELD, 10),
        (H2CData(8, 1, 0, bytes(8)), Fes.INVALID_HEADER_FIELD, 8),
        (H2CData(7, 1, 4, bytes(4)), Fes.DATA_OUT_OF_RANGE, 0),
        (H2CData(7, 1, 0, bytes(9)), Fes.DATA_OUT_OF_RANGE, 0),
        (H2CData(7, 1, 0, bytes(4), is_last=True), Fes.INVALID_HEADER_FIELD, 1),
        (H2CData(7, 1, 0, bytes(8), is_last=False), Fes.INVALID_HEADER_FIELD, 1),
    ],
)
def test_wrong_data(pdu: H2CData, fes: Fes, fei: int) -> None:
    of = incoming()
    begin(of, 7, 8)
    assert [ask.ttag for ask in of.asks()] == [1]
    with pytest.raises(PduError) as wrong:
        of.feed(pdu)
    assert (wrong.value.fes, wrong.value.fei) == (fes, fei)
    assert len(wrong.value.header) == 24
