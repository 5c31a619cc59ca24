"""The NVM command set on one namespace (NVM Command Set 1.0, section 3.2): checked here, done by the bdev."""

import struct
from collections.abc import Awaitable, Callable

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command, IoOpcode
from dpucsi.nvme_tcp.logs import CHANGES_CONTENT, SUPPORTED
from dpucsi.nvme_tcp.status import (
    COMPARE_FAILURE,
    DATA_SGL_LENGTH_INVALID,
    INVALID_OPCODE,
    LBA_OUT_OF_RANGE,
    NAMESPACE_WRITE_PROTECTED,
    NvmeError,
)
from dpucsi.nvme_tcp.target import Reply
from spdk_emulator.bdev.bdev import Bdev

FORCE_UNIT_ACCESS = 1 << 30  # of dword 12
DEALLOCATE = 1 << 2  # of dword 11 of Dataset Management
_RANGE = struct.Struct("<IIQ")  # attributes, blocks, first block

EFFECTS: dict[int, int] = {
    IoOpcode.FLUSH: SUPPORTED | CHANGES_CONTENT,
    IoOpcode.WRITE: SUPPORTED | CHANGES_CONTENT,
    IoOpcode.READ: SUPPORTED,
    IoOpcode.COMPARE: SUPPORTED,
    IoOpcode.WRITE_ZEROES: SUPPORTED | CHANGES_CONTENT,
    IoOpcode.DATASET_MANAGEMENT: SUPPORTED | CHANGES_CONTENT,
}


async def run(bdev: Bdev, command: Command, data: Buffer) -> Reply:
    """Raises NvmeError."""
    work = _WORK.get(command.opcode)
    if work is None:
        raise NvmeError(INVALID_OPCODE, dnr=True, reason=f"opcode {command.opcode:#04x}")
    return await work(bdev, command, data)


async def _read(bdev: Bdev, command: Command, _: Buffer) -> Reply:
    offset, length = _extent(bdev, command.slba, command.num_blocks)
    _check_length(command.sgl.length, length)
    return Reply(data=await bdev.io.read(offset, length))


async def _write(bdev: Bdev, command: Command, data: Buffer) -> Reply:
    offset, length = _extent(bdev, command.slba, command.num_blocks)
    _check_length(len(data), length)
    _check_writable(bdev)
    await bdev.io.write(offset, data)
    if command.cdw12 & FORCE_UNIT_ACCESS:
        await bdev.io.flush()
    return Reply()


async def _flush(bdev: Bdev, _: Command, __: Buffer) -> Reply:
    await bdev.io.flush()
    return Reply()


async def _compare(bdev: Bdev, command: Command, data: Buffer) -> Reply:
    offset, length = _extent(bdev, command.slba, command.num_blocks)
    _check_length(len(data), length)
    if await bdev.io.read(offset, length) != data:
        raise NvmeError(COMPARE_FAILURE)
    return Reply()


async def _write_zeroes(bdev: Bdev, command: Command, _: Buffer) -> Reply:
    offset, length = _extent(bdev, command.slba, command.num_blocks)
    _check_writable(bdev)
    await bdev.io.write_zeroes(offset, length)
    if command.cdw12 & FORCE_UNIT_ACCESS:
        await bdev.io.flush()
    return Reply()


async def _dataset_management(bdev: Bdev, command: Command, data: Buffer) -> Reply:
    """All ranges are looked at before the first one is deallocated; the other attributes are hints.

    More ranges than DMRL says are done too: Linux before 5.16 does not ask for it.
    """
    count = (command.cdw10 & 0xFF) + 1
    if len(data) < count * _RANGE.size:
        raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{len(data)} bytes for {count} ranges")
    if not command.cdw11 & DEALLOCATE:
        return Reply()
    _check_writable(bdev)
    ranges = [_RANGE.unpack_from(data, number * _RANGE.size)[1:] for number in range(count)]
    extents = [_extent(bdev, first, blocks) for blocks, first in ranges if blocks]
    for offset, length in extents:
        await bdev.io.unmap(offset, length)
    return Reply()


def _extent(bdev: Bdev, first: int, blocks: int) -> tuple[int, int]:
    """Offset and length in bytes."""
    if first + blocks > bdev.num_blocks:
        text = f"blocks {first} to {first + blocks} of {bdev.num_blocks}"
        raise NvmeError(LBA_OUT_OF_RANGE, dnr=True, reason=text)
    return first * bdev.block_size, blocks * bdev.block_size


def _check_length(found: int, wanted: int) -> None:
    if found != wanted:
        raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{found} bytes of data for {wanted}")


def _check_writable(bdev: Bdev) -> None:
    if bdev.is_read_only:
        raise NvmeError(NAMESPACE_WRITE_PROTECTED, dnr=True)


_WORK: dict[int, Callable[[Bdev, Command, Buffer], Awaitable[Reply]]] = {
    IoOpcode.READ: _read,
    IoOpcode.WRITE: _write,
    IoOpcode.FLUSH: _flush,
    IoOpcode.COMPARE: _compare,
    IoOpcode.WRITE_ZEROES: _write_zeroes,
    IoOpcode.DATASET_MANAGEMENT: _dataset_management,
}
