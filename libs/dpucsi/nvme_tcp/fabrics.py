"""Fabrics commands and the properties of a controller (NVMe Base 2.0, sections 6 and 3.1.3)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar
from uuid import UUID

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import FABRICS, Command, FabricsType, Sgl
from dpucsi.nvme_tcp.layout import Layout, at, text, words

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
ANY_CNTLID = 0xFFFF  # dynamic controller model: the controller chooses
CONNECT_DATA_SIZE = 1024
CATTR_NO_FLOW_CONTROL = 0x04  # sqhd is not used


@dataclass(frozen=True)
class ConnectData(Layout):
    """The data of Connect, Figure 520. `hostid`: 16 bytes."""

    SIZE: ClassVar[int] = CONNECT_DATA_SIZE

    hostid: bytes = at(0, "16s", bytes(16))
    cntlid: int = at(16, "H", ANY_CNTLID)
    subnqn: str = text(256, 256)
    hostnqn: str = text(512, 256)

    @property
    def host_uuid(self) -> UUID:
        """The host identifier as a UUID."""
        return UUID(bytes=self.hostid)


@dataclass(frozen=True)
class Connect:
    """The command itself, Figure 519. `sqsize`: entries, 0's based; `kato`: milliseconds, 0 for no keep alive."""

    qid: int
    sqsize: int
    kato: int = 0
    cattr: int = 0
    recfmt: int = 0

    @classmethod
    def of(cls, command: Command) -> "Connect":
        """From a command."""
        sqsize, cattr = command.cdw11 & 0xFFFF, command.cdw11 >> 16 & 0xFF
        return cls(command.cdw10 >> 16, sqsize, command.cdw12, cattr, command.cdw10 & 0xFFFF)

    def command(self, cid: int = 0) -> Command:
        """To a command, with its data in the capsule."""
        return Command(
            opcode=FABRICS,
            cid=cid,
            nsid=FabricsType.CONNECT,
            sgl=Sgl.in_capsule(CONNECT_DATA_SIZE),
            cdw10=self.recfmt | self.qid << 16,
            cdw11=self.sqsize | self.cattr << 16,
            cdw12=self.kato,
        )


class Property(IntEnum):
    """Offsets of properties, Figure 32."""

    CAP = 0x00
    VS = 0x08
    CC = 0x14
    CSTS = 0x1C
    NSSR = 0x20
    AQA = 0x24
    ASQ = 0x28
    ACQ = 0x30
    CRTO = 0x68


WIDE = frozenset({Property.CAP, Property.ASQ, Property.ACQ})  # properties of 8 bytes
_SIZE_8 = 1


def property_get(offset: int, *, is_wide: bool = False, cid: int = 0) -> Command:
    """The value comes in the completion's result."""
    return Command(FABRICS, cid, FabricsType.PROPERTY_GET, cdw10=_SIZE_8 * is_wide, cdw11=offset)


def property_set(offset: int, value: int, *, cid: int = 0) -> Command:
    """Of a 4-byte property: there is no other to set."""
    return Command(FABRICS, cid, FabricsType.PROPERTY_SET, cdw11=offset, cdw12=value)


@dataclass(frozen=True)
class PropertyAccess:
    """Property Get or Set, Figures 527 and 531. `size`: 4 or 8, or 0 for what is neither."""

    offset: int
    size: int
    value: int

    @classmethod
    def of(cls, command: Command) -> "PropertyAccess":
        """From a command."""
        size = {0: 4, _SIZE_8: 8}.get(command.cdw10 & 0b111, 0)
        return cls(command.cdw11, size, command.cdw12 | command.cdw13 << 32)


VERSION_1_3, VERSION_1_4, VERSION_2_0 = 0x0001_0300, 0x0001_0400, 0x0002_0000


@dataclass(frozen=True)
class Capabilities:
    """The CAP property, Figure 36. `mqes`: entries of a queue, 0's based; `to`: seconds / 2 until CSTS.RDY."""

    mqes: int = 127
    cqr: bool = True
    to: int = 30
    css: int = 0x01  # bit 0: the NVM command set, bit 6: several
    crwms: bool = True  # CSTS.RDY waits for the media; CRTO says how long

    def encode(self) -> int:
        """To 64 bits."""
        return self.mqes | self.cqr << 16 | self.to << 24 | self.css << 37 | self.crwms << 59

    @classmethod
    def decode(cls, value: int) -> "Capabilities":
        """From 64 bits."""
        flags = bool(value >> 16 & 1), bool(value >> 59 & 1)
        return cls(value & 0xFFFF, flags[0], value >> 24 & 0xFF, value >> 37 & 0xFF, flags[1])


@dataclass(frozen=True)
class Configuration:
    """The CC property, Figure 46. `mps`: memory page size; `shn`: 1 normal, 2 abrupt shutdown."""

    en: bool = False
    css: int = 0
    mps: int = 0
    ams: int = 0
    shn: int = 0
    iosqes: int = 0
    iocqes: int = 0

    def encode(self) -> int:
        """To 32 bits."""
        low = self.en | self.css << 4 | self.mps << 7 | self.ams << 11 | self.shn << 14
        return low | self.iosqes << 16 | self.iocqes << 20

    @classmethod
    def decode(cls, value: int) -> "Configuration":
        """From 32 bits."""
        return cls(
            bool(value & 1),
            value >> 4 & 0b111,
            value >> 7 & 0xF,
            value >> 11 & 0b111,
            value >> 14 & 0b11,
            value >> 16 & 0xF,
            value >> 20 & 0xF,
        )


ENABLED = Configuration(en=True, iosqes=6, iocqes=4)  # 64-byte commands, 16-byte completions
SHN_NORMAL, SHN_ABRUPT = 1, 2
SHST_NONE, SHST_OCCURRING, SHST_COMPLETE = 0, 1, 2


@dataclass(frozen=True)
class ControllerStatus:
    """The CSTS property, Figure 47. `cfs`: fatal."""

    rdy: bool = False
    cfs: bool = False
    shst: int = SHST_NONE

    def encode(self) -> int:
        """To 32 bits."""
        return self.rdy | self.cfs << 1 | self.shst << 2

    @classmethod
    def decode(cls, value: int) -> "ControllerStatus":
        """From 32 bits."""
        return cls(bool(value & 1), bool(value >> 1 & 1), value >> 2 & 0b11)


def invalid_parameter(offset: int, *, is_data: bool) -> int:
    """The result of a refused Connect, Figure 522: which byte of its data or of the command was wrong."""
    return offset | is_data << 16


INVALID_QID = invalid_parameter(42, is_data=False)
INVALID_SQSIZE = invalid_parameter(44, is_data=False)
INVALID_HOSTID = invalid_parameter(0, is_data=True)
INVALID_CNTLID = invalid_parameter(16, is_data=True)
INVALID_SUBNQN = invalid_parameter(256, is_data=True)
INVALID_HOSTNQN = invalid_parameter(512, is_data=True)

TRTYPE_TCP, ADRFAM_IPV4, ADRFAM_IPV6 = 3, 1, 2
SUBTYPE_REFERRAL, SUBTYPE_NVME, SUBTYPE_CURRENT_DISCOVERY = 1, 2, 3


@dataclass(frozen=True)
class DiscoveryEntry(Layout):
    """One entry of the discovery log page, Figure 265."""

    SIZE: ClassVar[int] = 1024

    trtype: int = at(0, "B", TRTYPE_TCP)
    adrfam: int = at(1, "B", ADRFAM_IPV4)
    subtype: int = at(2, "B", SUBTYPE_NVME)
    treq: int = at(3, "B")  # bits 1:0 secure channel: 0 not said, 1 required, 2 not required
    portid: int = at(4, "H")
    cntlid: int = at(6, "H", ANY_CNTLID)
    asqsz: int = at(8, "H", 32)
    eflags: int = at(10, "H")
    trsvcid: str = words(32, 32)
    subnqn: str = text(256, 256)
    traddr: str = words(512, 256)
    sectype: int = at(768, "B")


_DISCOVERY_HEADER = struct.Struct("<QQH1006x")


@dataclass(frozen=True)
class DiscoveryLog:
    """The discovery log page, Figure 264. `genctr` counts the changes of `entries`."""

    genctr: int
    entries: tuple[DiscoveryEntry, ...]

    def encode(self) -> bytes:
        """1 KiB of header, 1 KiB an entry."""
        return _DISCOVERY_HEADER.pack(self.genctr, len(self.entries), 0) + b"".join(
            entry.encode() for entry in self.entries
        )

    @classmethod
    def decode(cls, data: Buffer) -> "DiscoveryLog":
        """From the whole page; raises ValueError where entries are missing."""
        raw = bytes(data)
        if len(raw) < _DISCOVERY_HEADER.size:
            raise ValueError(f"a discovery log of {len(raw)} bytes")
        genctr, count, _ = _DISCOVERY_HEADER.unpack_from(raw)
        size = DiscoveryEntry.SIZE
        if len(raw) < _DISCOVERY_HEADER.size + count * size:
            raise ValueError(f"a discovery log of {count} entries in {len(raw)} bytes")
        starts = range(_DISCOVERY_HEADER.size, _DISCOVERY_HEADER.size + count * size, size)
        return cls(genctr, tuple(DiscoveryEntry.decode(raw[start : start + size]) for start in starts))
