"""The bytes of FUSE messages, by the sizes and offsets of include/uapi/linux/fuse.h."""

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from emulated_card.fuse import protocol
from emulated_card.fuse.protocol import Opcode, Request

U64 = st.integers(0, 2**64 - 1)


def message(opcode: int, arguments: bytes, unique: int = 7) -> memoryview:
    size = 40 + len(arguments)
    return memoryview(struct.pack("=IIQQIIIHH", size, opcode, unique, 1, 0, 0, 0, 0, 0) + arguments)


@given(offset=U64, data=st.binary(max_size=64), unique=U64)
def test_write(offset: int, data: bytes, unique: int) -> None:
    head = struct.pack("=QQIIQII", 0, offset, len(data), 0, 0, 0, 0)
    asked = message(Opcode.WRITE, head + data, unique)
    assert Request.parse(asked) == Request(Opcode.WRITE, unique, len(asked))
    assert protocol.ranged(asked) == (offset, len(data))
    assert protocol.written(asked) == data


@given(mode=st.integers(0, 2**32 - 1), offset=U64, length=U64)
def test_fallocate(mode: int, offset: int, length: int) -> None:
    asked = message(Opcode.FALLOCATE, struct.pack("=QQQII", 0, offset, length, mode, 0))
    assert protocol.fallocated(asked) == (mode, offset, length)


def test_init_takes_only_what_is_offered() -> None:
    asked = message(Opcode.INIT, struct.pack("=IIII", 7, 45, 131072, protocol.ASYNC_DIO | 1 << 30))
    answer = protocol.init_answer(asked, background=32)
    assert answer is not None
    assert len(answer) == 64
    major, minor, _, flags, background, _, max_write, _, pages = struct.unpack_from("=IIIIHHIIH", answer)
    assert (major, minor, flags, background, max_write, pages) == (7, 31, protocol.ASYNC_DIO, 32, 1 << 20, 256)


def test_an_older_kernel_is_not_served() -> None:
    assert protocol.init_answer(message(Opcode.INIT, struct.pack("=IIII", 7, 23, 0, 0)), background=32) is None


def test_sizes_of_answers() -> None:
    attributes = protocol.attributes(4 << 20, 4096, is_read_only=True)
    assert len(attributes) == 104
    assert struct.unpack_from("=Q", attributes, 16 + 8) == (4 << 20,)
    assert struct.unpack_from("=I", attributes, 16 + 60) == (0o100400,)
    assert len(protocol.opened()) == 16
    assert len(protocol.accepted(1)) == 8
    assert len(protocol.statistics(4 << 20, 4096)) == 80
    assert struct.unpack("=IiQ", protocol.answer(9, 8)) == (24, 0, 9)
    assert struct.unpack("=IiQ", protocol.refusal(9, errno.ENOSPC)) == (16, -errno.ENOSPC, 9)
