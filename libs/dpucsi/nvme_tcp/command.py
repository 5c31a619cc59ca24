"""Submission queue entries (64 bytes) and completion queue entries (16), NVMe Base 2.0, section 3.3.3."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from dpucsi.nvme_tcp.status import SUCCESS, Status

COMMAND_SIZE, COMPLETION_SIZE = 64, 16
ALL_NAMESPACES = 0xFFFFFFFF  # the broadcast nsid

_COMMAND = struct.Struct("<BBHIIIQQIIIIIIII")
_COMPLETION = struct.Struct("<QHHHH")


class FabricsType(IntEnum):
    """What a Fabrics command is, in its first nsid byte (Figure 494)."""

    PROPERTY_SET = 0x00
    CONNECT = 0x01
    PROPERTY_GET = 0x04
    AUTHENTICATION_SEND = 0x05
    AUTHENTICATION_RECEIVE = 0x06
    DISCONNECT = 0x08


class AdminOpcode(IntEnum):
    """Commands of the admin queue (Figure 138), and the opcode of all Fabrics commands."""

    GET_LOG_PAGE = 0x02
    IDENTIFY = 0x06
    ABORT = 0x08
    SET_FEATURES = 0x09
    GET_FEATURES = 0x0A
    ASYNC_EVENT_REQUEST = 0x0C
    KEEP_ALIVE = 0x18
    FABRICS = 0x7F


class IoOpcode(IntEnum):
    """Commands of the NVM command set (NVM Command Set 1.0, Figure 17)."""

    FLUSH = 0x00
    WRITE = 0x01
    READ = 0x02
    COMPARE = 0x05
    WRITE_ZEROES = 0x08
    DATASET_MANAGEMENT = 0x09
    FABRICS = 0x7F


FABRICS = 0x7F


class SglType(IntEnum):
    """Descriptor type and sub type, as the last byte of a descriptor has them (Figure 82 and following)."""

    ADDRESS = 0x00  # data block with an address: memory transports only
    IN_CAPSULE = 0x01  # data block with an offset into the capsule
    TRANSPORT = 0x5A  # transport data block: the transport asks for, or sends, the bytes


PSDT_SGL = 0x40  # command flags: the data pointer is an SGL, as all commands of a fabric have it
PSDT_MASK, FUSED_MASK = 0xC0, 0x03


@dataclass(frozen=True, slots=True)
class Sgl:
    """The one descriptor of a command. `kind`: an SglType, or whatever a peer sent."""

    kind: int = 0
    length: int = 0
    address: int = 0

    @classmethod
    def in_capsule(cls, length: int) -> "Sgl":
        """Bytes behind the command, in the same PDU."""
        return cls(SglType.IN_CAPSULE, length)

    @classmethod
    def transport(cls, length: int) -> "Sgl":
        """Bytes in PDUs of their own."""
        return cls(SglType.TRANSPORT, length)


NO_DATA = Sgl(SglType.TRANSPORT)  # what Linux and SPDK send where there is none


@dataclass(frozen=True, slots=True)
class Command:
    """A submission queue entry. `opcode` and everything else as a peer may send it: nothing is checked here."""

    opcode: int
    cid: int = 0
    nsid: int = 0
    sgl: Sgl = NO_DATA
    cdw10: int = 0
    cdw11: int = 0
    cdw12: int = 0
    cdw13: int = 0
    cdw14: int = 0
    cdw15: int = 0
    flags: int = PSDT_SGL
    cdw2: int = 0
    cdw3: int = 0
    mptr: int = 0

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> "Command":
        """From 64 bytes."""
        opcode, flags, cid, nsid, cdw2, cdw3, mptr, address, length, kind, *cdws = _COMMAND.unpack(data)
        cdw10, cdw11, cdw12, cdw13, cdw14, cdw15 = cdws
        sgl = Sgl(kind >> 24, length, address)
        return cls(opcode, cid, nsid, sgl, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15, flags, cdw2, cdw3, mptr)

    def encode(self) -> bytes:
        """To 64 bytes."""
        return _COMMAND.pack(
            self.opcode,
            self.flags,
            self.cid,
            self.nsid,
            self.cdw2,
            self.cdw3,
            self.mptr,
            self.sgl.address,
            self.sgl.length,
            self.sgl.kind << 24,
            self.cdw10,
            self.cdw11,
            self.cdw12,
            self.cdw13,
            self.cdw14,
            self.cdw15,
        )

    @property
    def is_fabrics(self) -> bool:
        """Whether it is a Fabrics command, on any queue."""
        return self.opcode == FABRICS

    @property
    def fctype(self) -> int:
        """The Fabrics command type: the first byte of what is the nsid elsewhere."""
        return self.nsid & 0xFF

    @property
    def sends_data(self) -> bool:
        """Host to controller, as the lowest bits of opcode or fctype say (Figure 137)."""
        return bool((self.fctype if self.is_fabrics else self.opcode) & 0b01)

    @property
    def receives_data(self) -> bool:
        """Controller to host."""
        return bool((self.fctype if self.is_fabrics else self.opcode) & 0b10)

    @property
    def slba(self) -> int:
        """First logical block of a read, write, compare or write zeroes."""
        return self.cdw10 | self.cdw11 << 32

    @property
    def num_blocks(self) -> int:
        """Logical blocks of the same commands: the field is 0's based."""
        return (self.cdw12 & 0xFFFF) + 1

    def describe(self) -> str:
        """For a log line."""
        kind = f"fabrics {self.fctype:#04x}" if self.is_fabrics else f"opcode {self.opcode:#04x}"
        return f"{kind} cid {self.cid} nsid {self.nsid:#x}"


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion queue entry. `result`: dwords 0 and 1, 64 bits. NVMe/TCP has no phase tag."""

    cid: int
    status: Status = SUCCESS
    result: int = 0
    sqhd: int = 0
    sqid: int = 0
    dnr: bool = False
    more: bool = False
    crd: int = 0

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> "Completion":
        """From 16 bytes."""
        result, sqhd, sqid, cid, bits = _COMPLETION.unpack(data)
        status = Status(bits >> 9 & 0b111, bits >> 1 & 0xFF)
        return cls(cid, status, result, sqhd, sqid, bool(bits & 1 << 15), bool(bits & 1 << 14), bits >> 12 & 0b11)

    def encode(self) -> bytes:
        """To 16 bytes."""
        bits = self.status.sc << 1 | self.status.sct << 9 | self.crd << 12 | self.more << 14 | self.dnr << 15
        return _COMPLETION.pack(self.result, self.sqhd, self.sqid, self.cid, bits)
