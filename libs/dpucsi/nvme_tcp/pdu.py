"""Every PDU of NVMe/TCP as a value, and its bytes (NVMe/TCP Transport 1.0, section 3.6). Reading them is `stream`."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command, Completion
from dpucsi.nvme_tcp.digest import SIZE as DIGEST_SIZE
from dpucsi.nvme_tcp.digest import digest

COMMON_SIZE = 8  # the common header: type, flags, hlen, pdo, plen
COMMON: Final = struct.Struct("<BBBBI")
IC: Final = struct.Struct("<HBBI112x")  # pfv, alignment, digests, maxr2t or maxh2cdata
TERM: Final = struct.Struct("<HI10x")  # fes, fei
DATA: Final = struct.Struct("<HHII4x")  # cccid, ttag, offset, length
TERM_DATA_MAX = 128  # bytes of the offending header in a termination request: 152 in all

HEADER_DIGEST, DATA_DIGEST, LAST, SUCCESS = 0x01, 0x02, 0x04, 0x08  # flags of the common header


class PduType(IntEnum):
    """First byte of a PDU (Figure 10)."""

    IC_REQ = 0x00
    IC_RESP = 0x01
    H2C_TERM_REQ = 0x02
    C2H_TERM_REQ = 0x03
    CAPSULE_CMD = 0x04
    CAPSULE_RESP = 0x05
    H2C_DATA = 0x06
    C2H_DATA = 0x07
    R2T = 0x09


HEADER_SIZES: Final = {
    PduType.IC_REQ: 128,
    PduType.IC_RESP: 128,
    PduType.H2C_TERM_REQ: 24,
    PduType.C2H_TERM_REQ: 24,
    PduType.CAPSULE_CMD: 72,
    PduType.CAPSULE_RESP: 24,
    PduType.H2C_DATA: 24,
    PduType.C2H_DATA: 24,
    PduType.R2T: 24,
}


class Fes(IntEnum):
    """Fatal error status of a termination request (Figure 22)."""

    INVALID_HEADER_FIELD = 0x01  # fei: offset of the field in the header
    SEQUENCE_ERROR = 0x02
    HEADER_DIGEST_ERROR = 0x03  # fei: the digest that came
    DATA_OUT_OF_RANGE = 0x04
    LIMIT_EXCEEDED = 0x05  # data transfer limit, or R2T limit
    UNSUPPORTED_PARAMETER = 0x06  # fei: offset of the field in the header


@dataclass(frozen=True, slots=True)
class Framing:
    """What the two ends agreed on. `alignment`: bytes that the data of a PDU begins at a multiple of, 4 to 128."""

    header_digest: bool = False
    data_digest: bool = False
    alignment: int = 4


PLAIN: Final = Framing()  # before, and in, the initialization


@dataclass(frozen=True, slots=True)
class ICReq:
    """Host: let us begin. `hpda`: alignment that it wants, in dwords; `maxr2t`: R2Ts a command. Both 0's based."""

    pfv: int = 0
    hpda: int = 0
    header_digest: bool = False
    data_digest: bool = False
    maxr2t: int = 0


@dataclass(frozen=True, slots=True)
class ICResp:
    """Controller: so be it. `maxh2cdata`: bytes of data that one H2CData may have, a multiple of 4, at least 4096."""

    pfv: int = 0
    cpda: int = 0
    header_digest: bool = False
    data_digest: bool = False
    maxh2cdata: int = 131072


@dataclass(frozen=True, slots=True)
class H2CTermReq:
    """Host: the controller broke the rules, the connection ends. `header`: of the PDU in error."""

    fes: int
    fei: int = 0
    header: Buffer = b""


@dataclass(frozen=True, slots=True)
class C2HTermReq:
    """Controller: the host broke the rules, the connection ends. `header`: of the PDU in error."""

    fes: int
    fei: int = 0
    header: Buffer = b""


@dataclass(frozen=True, slots=True)
class CapsuleCmd:
    """Host: a command, perhaps with its data. `is_intact` False: the data's digest did not match."""

    command: Command
    data: Buffer = b""
    is_intact: bool = True


@dataclass(frozen=True, slots=True)
class CapsuleResp:
    """Controller: a command has ended."""

    completion: Completion


@dataclass(frozen=True, slots=True)
class H2CData:
    """Host: data of command `cccid` that R2T `ttag` asked for; `datao` counts from the command's first byte."""

    cccid: int
    ttag: int
    datao: int
    data: Buffer
    is_last: bool = True
    is_intact: bool = True


@dataclass(frozen=True, slots=True)
class C2HData:
    """Controller: data of command `cccid`. `is_success`: it has ended well, and no CapsuleResp follows."""

    cccid: int
    datao: int
    data: Buffer
    is_last: bool = True
    is_success: bool = False
    is_intact: bool = True


@dataclass(frozen=True, slots=True)
class R2T:
    """Controller: send me `r2tl` bytes of command `cccid` from `r2to` on."""

    cccid: int
    ttag: int
    r2to: int
    r2tl: int


Pdu: TypeAlias = "ICReq | ICResp | H2CTermReq | C2HTermReq | CapsuleCmd | CapsuleResp | H2CData | C2HData | R2T"


def encode(pdu: Pdu, framing: Framing = PLAIN) -> list[Buffer]:
    """The PDU as buffers to be written one behind the other; its data is not copied.

    `framing` is left aside for the PDUs of the initialization and for terminations: they have no digests.
    """
    if isinstance(pdu, ICReq | ICResp):
        return [_initialization(pdu)]
    if isinstance(pdu, H2CTermReq | C2HTermReq):
        return [_termination(pdu)]
    kind, flags, special, data = _parts(pdu)
    return _framed(kind, flags, special, data, framing)


def _parts(pdu: "CapsuleCmd | CapsuleResp | H2CData | C2HData | R2T") -> tuple[PduType, int, bytes, Buffer]:
    """Type, flags, what follows the common header, and the data."""
    match pdu:
        case CapsuleCmd():
            return PduType.CAPSULE_CMD, 0, pdu.command.encode(), pdu.data
        case CapsuleResp():
            return PduType.CAPSULE_RESP, 0, pdu.completion.encode(), b""
        case H2CData():
            special = DATA.pack(pdu.cccid, pdu.ttag, pdu.datao, len(pdu.data))
            return PduType.H2C_DATA, LAST * pdu.is_last, special, pdu.data
        case C2HData():
            special = DATA.pack(pdu.cccid, 0, pdu.datao, len(pdu.data))
            return PduType.C2H_DATA, LAST * pdu.is_last | SUCCESS * pdu.is_success, special, pdu.data
        case R2T():
            return PduType.R2T, 0, DATA.pack(pdu.cccid, pdu.ttag, pdu.r2to, pdu.r2tl), b""


def _initialization(pdu: "ICReq | ICResp") -> bytes:
    is_request = isinstance(pdu, ICReq)
    align, number = (pdu.hpda, pdu.maxr2t) if isinstance(pdu, ICReq) else (pdu.cpda, pdu.maxh2cdata)
    special = IC.pack(pdu.pfv, align, pdu.header_digest | pdu.data_digest << 1, number)
    size = COMMON_SIZE + len(special)
    return COMMON.pack(PduType.IC_REQ if is_request else PduType.IC_RESP, 0, size, 0, size) + special


def _termination(pdu: "H2CTermReq | C2HTermReq") -> bytes:
    kind = PduType.H2C_TERM_REQ if isinstance(pdu, H2CTermReq) else PduType.C2H_TERM_REQ
    special, header = TERM.pack(pdu.fes, pdu.fei), bytes(pdu.header[:TERM_DATA_MAX])
    size = COMMON_SIZE + len(special)
    return COMMON.pack(kind, 0, size, 0, size + len(header)) + special + header


def _framed(kind: PduType, flags: int, special: bytes, data: Buffer, framing: Framing) -> list[Buffer]:
    """Header, padding, data and their digests. `special`: what follows the common header."""
    size = header_end = COMMON_SIZE + len(special)
    if framing.header_digest:
        flags |= HEADER_DIGEST
        header_end += DIGEST_SIZE
    if not data:
        header = COMMON.pack(kind, flags, size, 0, header_end) + special
        return [header + digest((header,))] if framing.header_digest else [header]
    offset = -(-header_end // framing.alignment) * framing.alignment
    end = offset + len(data)
    if framing.data_digest:
        flags |= DATA_DIGEST
        end += DIGEST_SIZE
    header = COMMON.pack(kind, flags, size, offset, end) + special
    if framing.header_digest:
        header += digest((header,))
    buffers: list[Buffer] = [header.ljust(offset, b"\0"), data]
    if framing.data_digest:
        buffers.append(digest((data,)))
    return buffers
