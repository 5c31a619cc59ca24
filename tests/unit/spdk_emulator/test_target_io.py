"""The NVM command set: what it does to the bytes, and which status a wrong command gets."""

import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.spdk_emulator.target_rig import BLOCK, BLOCKS, Rig, io, read, refusal, write

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import ALL_NAMESPACES, Command, IoOpcode, Sgl
from dpucsi.nvme_tcp.host_queue import HostQueue
from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError, Status

FORCE_UNIT_ACCESS = 1 << 30


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.make()
    yield rig
    rig.close()


@pytest.fixture
async def queue(rig: Rig) -> HostQueue:
    return await rig.io()


def ranges(*extents: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<IIQ", 0, blocks, first) for first, blocks in extents)


def deallocate(count: int = 1, attributes: int = 4, nsid: int = 1) -> Command:
    return Command(IoOpcode.DATASET_MANAGEMENT, nsid=nsid, cdw10=count - 1, cdw11=attributes)


async def test_bytes_come_back(queue: HostQueue) -> None:
    small, large = b"a" * BLOCK, bytes(range(256)) * 16 * 32
    await write(queue, 3, small)
    await write(queue, 8, large)
    assert await read(queue, 3) == small
    assert await read(queue, 8, 32) == large
    assert await read(queue, 4) == bytes(BLOCK)


async def test_the_last_block_is_the_last(queue: HostQueue) -> None:
    await write(queue, BLOCKS - 1, b"z" * BLOCK)
    assert await read(queue, BLOCKS - 1) == b"z" * BLOCK


async def test_compare(queue: HostQueue) -> None:
    await write(queue, 0, b"a" * BLOCK)
    await queue.execute(io(IoOpcode.COMPARE), data=b"a" * BLOCK)
    different = queue.execute(io(IoOpcode.COMPARE), data=b"a" * (BLOCK - 1) + b"b")
    assert await refusal(different) == status.COMPARE_FAILURE


async def test_zeroes_and_deallocated_blocks(queue: HostQueue) -> None:
    await write(queue, 0, b"a" * BLOCK * 8)
    await queue.execute(io(IoOpcode.WRITE_ZEROES, 1, 2))
    await queue.execute(deallocate(2), data=ranges((4, 1), (5, 2)))
    await queue.execute(deallocate(attributes=0), data=ranges((7, 1)))  # a hint, not an order
    found = await read(queue, 0, 8)
    assert [found[place * BLOCK] for place in range(8)] == [97, 0, 0, 97, 0, 0, 0, 97]


@pytest.mark.parametrize(
    ("command", "data", "expected"),
    [
        (io(IoOpcode.READ, BLOCKS, 1), b"", status.LBA_OUT_OF_RANGE),
        (io(IoOpcode.READ, BLOCKS - 1, 2), b"", status.LBA_OUT_OF_RANGE),
        (Command(IoOpcode.READ, nsid=1, cdw10=0xFFFFFFFF, cdw11=0xFFFFFFFF), b"", status.LBA_OUT_OF_RANGE),
        (io(IoOpcode.WRITE, BLOCKS), bytes(BLOCK), status.LBA_OUT_OF_RANGE),
        (io(IoOpcode.COMPARE, BLOCKS), bytes(BLOCK), status.LBA_OUT_OF_RANGE),
        (io(IoOpcode.WRITE_ZEROES, BLOCKS - 1, 2), b"", status.LBA_OUT_OF_RANGE),
        (deallocate(), ranges((BLOCKS, 1)), status.LBA_OUT_OF_RANGE),
        (io(IoOpcode.READ, nsid=2), b"", status.INVALID_NAMESPACE),
        (io(IoOpcode.WRITE, nsid=0), bytes(BLOCK), status.INVALID_NAMESPACE),
        (io(IoOpcode.FLUSH, nsid=ALL_NAMESPACES), b"", status.INVALID_NAMESPACE),
        (io(IoOpcode.READ, 0, 2), b"", status.DATA_SGL_LENGTH_INVALID),
        (io(IoOpcode.WRITE, 0, 2), bytes(BLOCK), status.DATA_SGL_LENGTH_INVALID),
        (io(IoOpcode.WRITE, 0, 1), bytes(2 * BLOCK), status.DATA_SGL_LENGTH_INVALID),
        (io(IoOpcode.WRITE, 0, 1), b"", status.DATA_SGL_LENGTH_INVALID),
        (io(IoOpcode.WRITE, 0, 33), bytes(33 * BLOCK), status.INVALID_FIELD),
        (deallocate(2), ranges((0, 1)), status.DATA_SGL_LENGTH_INVALID),
        (deallocate(2), ranges((0, 1), (BLOCKS, 1)), status.LBA_OUT_OF_RANGE),
        (Command(0x0D, nsid=1), bytes(8), status.INVALID_OPCODE),
        (Command(0x84, nsid=1), b"", status.INVALID_OPCODE),
        (Command(IoOpcode.WRITE, nsid=1, flags=0x41), bytes(BLOCK), status.INVALID_FIELD),
    ],
    ids=lambda value: (
        "" if isinstance(value, bytes) else value.describe() if isinstance(value, Command) else str(value)
    ),
)
async def test_wrong_commands(queue: HostQueue, command: Command, data: bytes, expected: Status) -> None:
    await write(queue, 0, b"a" * BLOCK * 2)
    into = bytearray(BLOCK) if command.opcode == IoOpcode.READ else b""
    with pytest.raises(NvmeError) as refused:
        await queue.execute(command, data=data, into=into)
    assert (refused.value.status, refused.value.dnr) == (expected, True)
    assert await read(queue, 0, 2) == b"a" * BLOCK * 2


async def test_a_read_only_namespace_is_only_read(rig: Rig, queue: HostQueue) -> None:
    rig.bdev.is_read_only = True
    for work in (
        write(queue, 0, b"a" * BLOCK),
        queue.execute(io(IoOpcode.WRITE_ZEROES)),
        queue.execute(deallocate(), data=ranges((0, 1))),
    ):
        assert await refusal(work) == status.NAMESPACE_WRITE_PROTECTED
    assert await read(queue, 0) == bytes(BLOCK)
    await queue.execute(io(IoOpcode.FLUSH))


class Failing:
    """Counts, and fails with what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[str] = []

    async def _do(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None:
            raise self.error

    async def read(self, offset: int, length: int) -> bytes:
        await self._do("read")
        return bytes(length)

    async def write(self, offset: int, data: Buffer) -> None:
        await self._do("write")

    async def flush(self) -> None:
        await self._do("flush")

    async def unmap(self, offset: int, length: int) -> None:
        await self._do("unmap")

    async def write_zeroes(self, offset: int, length: int) -> None:
        await self._do("write_zeroes")


async def test_flush_and_forced_writes_reach_the_bdev(rig: Rig, queue: HostQueue) -> None:
    rig.bdev.io = failing = Failing()
    await queue.execute(io(IoOpcode.FLUSH))
    await write(queue, 0, bytes(BLOCK))
    await queue.execute(io(IoOpcode.WRITE, flags=FORCE_UNIT_ACCESS), data=bytes(BLOCK))
    assert failing.calls == ["flush", "write", "write", "flush"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(NvmeError(status.UNRECOVERED_READ_ERROR), status.UNRECOVERED_READ_ERROR), (RuntimeError(), INTERNAL_ERROR)],
)
async def test_what_the_bdev_says_reaches_the_host(
    rig: Rig, queue: HostQueue, error: Exception, expected: Status
) -> None:
    rig.bdev.io = Failing(error)
    assert await refusal(read(queue, 0)) == expected
    assert await refusal(write(queue, 0, bytes(BLOCK))) == expected


async def test_a_namespace_that_went_is_invalid(rig: Rig, queue: HostQueue) -> None:
    rig.emulator.target.remove_namespace(rig.subsystem, 1)
    assert await refusal(read(queue, 0)) == status.INVALID_NAMESPACE


@given(st.binary(min_size=64, max_size=64))
def test_any_64_bytes_are_a_command_or_are_refused(raw: bytes) -> None:
    """The decoder takes everything; what it means is checked behind it."""
    command = Command.decode(raw)
    assert command.encode()[:24] == raw[:24]
    assert isinstance(command.sgl, Sgl)
