"""The framer: any split, any order, garbage, and the work that it does."""

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpucsi.errors import InvalidArgumentError
from dpucsi.spdk import jsonrpc
from dpucsi.spdk.errors import ProtocolError
from dpucsi.spdk.jsonrpc import Failure, Framer, Message, Result, encode

TEXTS = st.text() | st.text(alphabet='{}[]"\\/,:\u00e9\U0001f600\n\t\x00')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
IDS = st.integers(0, 2**53)
MESSAGES = st.builds(Result, IDS, VALUES) | st.builds(Failure, IDS, st.integers(-(2**31), 2**31), TEXTS)
BLANKS = st.text(alphabet=" \t\r\n", max_size=3)


def wire(message: Message, *, ascii_only: bool = True) -> bytes:
    """What SPDK would send."""
    answer: dict[str, object] = {"jsonrpc": "2.0", "id": message.id}
    if isinstance(message, Result):
        answer["result"] = message.value
    else:
        answer["error"] = {"code": message.code, "message": message.text}
    return json.dumps(answer, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.tuples(MESSAGES, BLANKS, st.booleans()), max_size=5), st.lists(st.integers(0), max_size=12))
def test_any_messages_in_any_split_come_out_as_they_went_in(
    sent: list[tuple[Message, str, bool]], cuts: list[int]
) -> None:
    data = b"".join(blank.encode() + wire(message, ascii_only=ascii_only) for message, blank, ascii_only in sent)
    framer = Framer()
    assert [m for piece in pieces(data, cuts) for m in framer.feed(piece)] == [message for message, _, _ in sent]


@given(MESSAGES)
def test_one_byte_at_a_time(message: Message) -> None:
    framer = Framer()
    data = wire(message)
    assert [m for byte in data for m in framer.feed(bytes([byte]))] == [message]


@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=5))
@settings(max_examples=300)
def test_garbage_is_refused_or_waited_on_but_never_anything_else(data: bytes, cuts: list[int]) -> None:
    framer = Framer()
    with suppress(ProtocolError):
        for piece in pieces(data, cuts):
            framer.feed(piece)


@given(MESSAGES, st.integers(0), st.integers(0, 255))
def test_one_byte_changed_never_raises_anything_else(message: Message, where: int, byte: int) -> None:
    data = bytearray(wire(message))
    data[where % len(data)] = byte
    with suppress(ProtocolError):
        Framer().feed(bytes(data))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"[]",
        b"42 ",
        b'"text"',
        b"}",
        b"\xff\xfe",
        b'{"id":1,"result":NaN}',
        b'{"id":1,"result":"\xff"}',
        b'{"id":1,"result":[}]',
        b'{"id":1,"result":1]',
        b'{"result":1}',
        b'{"id":null,"error":{"code":-32700,"message":"Parse error"}}',
        b'{"id":"1","result":1}',
        b'{"id":true,"result":1}',
        b'{"id":1.0,"result":1}',
        b'{"id":1}',
        b'{"id":1,"error":"bad"}',
        b'{"id":1,"error":{"code":"1","message":"x"}}',
        b'{"id":1,"error":{"code":1}}',
        b'{"jsonrpc":"2.0","method":"notice"}',
        b'{"id":1,"result":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a":' * 100_000,
        b'{"id":1,"result":' + b"9" * 5000 + b"}",
    ],
)
def test_nonsense_is_refused(nonsense: bytes) -> None:
    with pytest.raises(ProtocolError):
        Framer().feed(nonsense)


def test_messages_before_nonsense_are_lost_with_the_connection() -> None:
    with pytest.raises(ProtocolError):
        Framer().feed(wire(Result(1, True)) + b"oops")


def test_an_answer_of_63_levels_is_fine() -> None:
    assert Framer().feed(b'{"id":1,"result":' + b"[" * 63 + b"]" * 63 + b"}")


@pytest.mark.parametrize("step", [1 << 30, 1000])
def test_an_answer_beyond_the_limit_is_refused_whole_or_not(step: int) -> None:
    data = wire(Result(1, "x" * 10_000))
    framer = Framer(limit=9_000)
    with pytest.raises(ProtocolError, match="larger than 9000 bytes"):
        for start in range(0, len(data), step):
            framer.feed(data[start : start + step])


def test_many_answers_in_one_piece_may_together_exceed_the_limit() -> None:
    data = wire(Result(1, "x" * 6_000)) * 100
    assert len(Framer(limit=9_000).feed(data)) == 100


class CountingPattern:
    """A compiled pattern that adds up how many bytes it walked over."""

    def __init__(self, pattern: object) -> None:
        self.pattern = pattern
        self.walked = 0

    def match(self, data: bytearray, start: int = 0) -> object:
        found = self.pattern.match(data, start)  # type: ignore[attr-defined]
        self.walked += found.end() - start
        return found


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([{"name": 'b{}\\"', "n": 1} for _ in range(1_000_000)], id="many small objects"),
        pytest.param('{["\\' * 3_500_000, id="one long text"),
    ],
)
def test_32_mib_in_64_kib_pieces_are_walked_over_once(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wire(Result(7, value))  # type: ignore[arg-type]
    assert 15 << 20 < len(data) <= jsonrpc.ANSWER_MAX
    counters = [CountingPattern(getattr(jsonrpc, name)) for name in ("_BLANK", "_BETWEEN", "_IN_STRING")]
    for name, counter in zip(("_BLANK", "_BETWEEN", "_IN_STRING"), counters, strict=True):
        monkeypatch.setattr(jsonrpc, name, counter)
    framer = Framer()
    got = [m for start in range(0, len(data), 65536) for m in framer.feed(data[start : start + 65536])]
    assert (got == [Result(7, value)]) is True  # type: ignore[arg-type]
    assert sum(counter.walked for counter in counters) <= len(data)


def test_a_request_as_spdk_takes_it() -> None:
    assert json.loads(encode(3, "m", {"a": [1, {"b": None}]})) == {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "m",
        "params": {"a": [1, {"b": None}]},
    }


def test_no_parameters_are_not_an_empty_object() -> None:
    assert "params" not in json.loads(encode(3, "spdk_get_version", {}))


def test_a_request_that_spdk_cannot_receive_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="bdev_x with 262"):
        encode(1, "bdev_x", {"name": "n" * (256 * 1024)})


def test_a_request_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        encode(1, "m", {"a": float("nan")})
