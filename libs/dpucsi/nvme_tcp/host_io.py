"""What one read, write, flush, unmap or write of zeroes becomes: NVM commands of a size that the controller takes."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dpucsi.nvme_tcp.command import Command, IoOpcode
from dpucsi.nvme_tcp.host_namespaces import NamespaceIdentity
from dpucsi.nvme_tcp.host_queue import TRANSFER_MAX
from dpucsi.nvme_tcp.identify import ONCS_DSM, ONCS_WRITE_ZEROES, IdentifyController, NvmController

BLOCKS_MAX = 1 << 16  # the number of blocks is 16 bits, 0's based
RANGES_MAX = 256  # of one Dataset Management command
RANGE_BLOCKS_MAX = (1 << 32) - 1
PAGE = 4096
DEALLOCATE = 0x04  # attribute of Dataset Management (NVM Command Set 1.0, Figure 42)
_RANGE = struct.Struct("<IIQ")  # context attributes, blocks, first block


@dataclass(frozen=True)
class IoLimits:
    """Bytes of data a command, bytes of zeroes a command, ranges of an unmap and blocks of a range; what there is."""

    max_transfer: int
    max_zeroes: int
    max_ranges: int
    max_range_blocks: int
    has_unmap: bool
    has_write_zeroes: bool
    has_write_cache: bool

    @classmethod
    def of(cls, controller: IdentifyController, nvm: NvmController) -> "IoLimits":
        """From what the controller says; 0 stands for no limit there."""
        return cls(
            max_transfer=min(controller.max_transfer or TRANSFER_MAX, TRANSFER_MAX),
            max_zeroes=PAGE << nvm.wzsl if nvm.wzsl else BLOCKS_MAX * PAGE,
            max_ranges=min(nvm.dmrl or RANGES_MAX, RANGES_MAX),
            max_range_blocks=min(nvm.dmrsl or RANGE_BLOCKS_MAX, nvm.dmsl or RANGE_BLOCKS_MAX, RANGE_BLOCKS_MAX),
            has_unmap=bool(controller.oncs & ONCS_DSM),
            has_write_zeroes=bool(controller.oncs & ONCS_WRITE_ZEROES),
            has_write_cache=bool(controller.vwc & 1),
        )

    def pieces(self, namespace: NamespaceIdentity, offset: int, length: int, most: int) -> Iterator[tuple[int, int]]:
        """Offset and length of each command, in bytes; `most`: bytes of one, as far as its block count goes."""
        most = min(most, BLOCKS_MAX * namespace.block_size) // namespace.block_size * namespace.block_size
        for start in range(offset, offset + length, most):
            yield start, min(most, offset + length - start)

    def ranges(self, namespace: NamespaceIdentity, offset: int, length: int) -> Iterator[bytes]:
        """The data of each unmap: one range a command, so that a limit on their sum is kept too."""
        most = self.max_range_blocks
        first, end = offset // namespace.block_size, (offset + length) // namespace.block_size
        for start in range(first, end, most):
            yield _RANGE.pack(0, min(most, end - start), start)


def over_blocks(opcode: IoOpcode, nsid: int, block_size: int, offset: int, length: int) -> Command:
    """Read, write or write zeroes of whole blocks; `offset`, `length`: bytes."""
    first = offset // block_size
    return Command(opcode, nsid=nsid, cdw10=first & 0xFFFFFFFF, cdw11=first >> 32, cdw12=length // block_size - 1)


def deallocate(nsid: int) -> Command:
    """Of the one range in its data."""
    return Command(IoOpcode.DATASET_MANAGEMENT, nsid=nsid, cdw10=0, cdw11=DEALLOCATE)
