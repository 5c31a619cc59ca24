"""How the fuzzer spoils one PDU of a valid session: one field, or the bytes as a whole."""

import random
from collections.abc import Callable

from dpucsi.testing.raw_pdus import RawPdu

Encode = Callable[[RawPdu], bytes]
Mutation = Callable[[random.Random, RawPdu, Encode], list[bytes]]
INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    23,
    24,
    71,
    72,
    127,
    128,
    255,
    0x7FFF,
    0xFFFF,
    1 << 16,
    1 << 20,
    0x7FFFFFFF,
    0xFFFFFFFF,
)
JUNK_MAX = 300  # bytes


def kind(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Another type of PDU."""
    return [encode(pdu.but(kind=chance.randrange(256) if chance.random() < 0.3 else chance.randrange(11)))]


def flags(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Other flags, digests that are not there included."""
    return [encode(pdu.but(flags=chance.randrange(256)))]


def hlen(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Another length of the header."""
    return [encode(pdu.but(hlen=_number(chance, 0xFF)))]


def pdo(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Another place of the data."""
    return [encode(pdu.but(pdo=_number(chance, 0xFF)))]


def plen(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Another length of the whole."""
    near = len(encode(pdu)) + chance.randrange(-8, 9)
    return [encode(pdu.but(plen=near if chance.random() < 0.5 else _number(chance, 0xFFFFFFFF)))]


def special(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """One to four bytes of what only this type has: a command's field, an offset, a tag; right digests around it."""
    size = chance.choice((1, 2, 4))
    at = chance.randrange(0, len(pdu.special) - size + 1)
    value = _number(chance, (1 << 8 * size) - 1).to_bytes(size, "little")
    return [encode(pdu.but(special=pdu.special[:at] + value + pdu.special[at + size :]))]


def data(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Data of another length, or other data."""
    if not pdu.data or chance.random() < 0.5:
        return [encode(pdu.but(data=chance.randbytes(chance.choice((1, 4, 512, 4096, 8192, 16384)))))]
    at = chance.randrange(len(pdu.data))
    return [encode(pdu.but(data=pdu.data[:at] + chance.randbytes(4) + pdu.data[at + 4 :]))]


def digest(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """A digest that does not match, where there are any."""
    is_header = chance.random() < 0.5
    return [encode(pdu.but(is_header_damaged=is_header, is_data_damaged=not is_header))]


def bits(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """One to eight bits turned, anywhere."""
    whole = bytearray(encode(pdu))
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(min(len(whole), 160))
        whole[at] ^= 1 << chance.randrange(8)
    return [bytes(whole)]


def cut(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Only its beginning, and what follows in the session right behind it."""
    whole = encode(pdu)
    return [whole[: chance.randrange(len(whole))]]


def missing(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Not at all."""
    return []


def twice(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Two times, or very often."""
    return [encode(pdu)] * chance.choice((2, 2, 2, 200))


def junk(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Random bytes before it or instead of it."""
    noise = chance.randbytes(chance.randint(1, JUNK_MAX))
    return [noise, encode(pdu)] if chance.random() < 0.5 else [noise]


def pieces(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Valid, but in many small pieces."""
    whole = encode(pdu)
    size = chance.choice((1, 3, 7, 64)) if len(whole) < 1024 else chance.choice((501, 4099))
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def inserted(chance: random.Random, pdu: RawPdu, encode: Encode) -> list[bytes]:
    """Some other whole PDU before it, with nonsense in it."""
    other = RawPdu(chance.choice((0, 2, 4, 6)), chance.randbytes(chance.choice((16, 64, 120))), chance.randbytes(64))
    return [encode(other), encode(pdu)]


MUTATIONS: tuple[Mutation, ...] = (
    kind,
    flags,
    hlen,
    pdo,
    plen,
    *(special,) * 6,
    data,
    digest,
    bits,
    cut,
    missing,
    twice,
    junk,
    pieces,
    inserted,
)


def _number(chance: random.Random, most: int) -> int:
    return chance.choice([n for n in INTERESTING if n <= most]) if chance.random() < 0.6 else chance.randint(0, most)
