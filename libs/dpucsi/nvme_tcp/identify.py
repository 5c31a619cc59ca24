"""What Identify gives (NVMe Base 2.0, section 5.17; NVM Command Set 1.0, section 4.1.5), to bytes and back."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar
from uuid import UUID

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.layout import Layout, at, text, words

IDENTIFY_SIZE = 4096
NVM_COMMAND_SET = 0  # CSI


class Cns(IntEnum):
    """What is identified (Figure 273)."""

    NAMESPACE = 0x00
    CONTROLLER = 0x01
    ACTIVE_NAMESPACES = 0x02
    DESCRIPTORS = 0x03
    IO_NAMESPACE = 0x05  # of the command set in CSI
    IO_CONTROLLER = 0x06
    IO_ACTIVE_NAMESPACES = 0x07
    INDEPENDENT_NAMESPACE = 0x08
    COMMAND_SETS = 0x1C


@dataclass(frozen=True)
class IdentifyController(Layout):
    """CNS 01h, Figure 275. `mdts`: a power of two of 4 KiB pages, 0 for no limit."""

    SIZE: ClassVar[int] = IDENTIFY_SIZE

    vid: int = at(0, "H")
    ssvid: int = at(2, "H")
    sn: str = words(4, 20)
    mn: str = words(24, 40)
    fr: str = words(64, 8)
    rab: int = at(72, "B")
    ieee: bytes = at(73, "3s", bytes(3))
    cmic: int = at(76, "B")  # bit 0 several ports, 1 several controllers, 3 ANA
    mdts: int = at(77, "B")
    cntlid: int = at(78, "H")
    ver: int = at(80, "I")
    rtd3r: int = at(84, "I")
    rtd3e: int = at(88, "I")
    oaes: int = at(92, "I")  # bit 8 namespaces, 11 ANA, 31 discovery log
    ctratt: int = at(96, "I")
    cntrltype: int = at(111, "B")  # 1 I/O, 2 discovery
    crdt1: int = at(128, "H")
    crdt2: int = at(130, "H")
    crdt3: int = at(132, "H")
    oacs: int = at(256, "H")
    acl: int = at(258, "B")
    aerl: int = at(259, "B")  # 0's based
    frmw: int = at(260, "B")
    lpa: int = at(261, "B")
    elpe: int = at(262, "B")  # 0's based
    npss: int = at(263, "B")
    wctemp: int = at(266, "H")
    cctemp: int = at(268, "H")
    kas: int = at(320, "H")  # granularity of keep alive, in 100 ms
    anatt: int = at(342, "B")  # seconds
    anacap: int = at(343, "B")
    anagrpmax: int = at(344, "I")
    nanagrpid: int = at(348, "I")
    sqes: int = at(512, "B")
    cqes: int = at(513, "B")
    maxcmd: int = at(514, "H")
    nn: int = at(516, "I")
    oncs: int = at(520, "H")  # bit 0 compare, 2 dataset management, 3 write zeroes
    fuses: int = at(522, "H")
    fna: int = at(524, "B")
    vwc: int = at(525, "B")  # bit 0 a write cache, bits 2:1 flush to all namespaces
    awun: int = at(526, "H")
    awupf: int = at(528, "H")
    nwpc: int = at(531, "B")
    acwu: int = at(532, "H")
    sgls: int = at(536, "I")  # bits 1:0 supported, 2 keyed, 20 offsets
    mnan: int = at(540, "I")
    subnqn: str = text(768, 256)
    ioccsz: int = at(1792, "I")  # bytes of a command capsule, in 16
    iorcsz: int = at(1796, "I")
    icdoff: int = at(1800, "H")
    fcatt: int = at(1802, "B")
    msdbd: int = at(1803, "B")
    ofcs: int = at(1804, "H")

    @property
    def max_transfer(self) -> int:
        """Bytes of one command's data; 0 for no limit."""
        return 4096 << self.mdts if self.mdts else 0

    @property
    def in_capsule_data(self) -> int:
        """Bytes of data that a command on an I/O queue may bring along."""
        return max(self.ioccsz * 16 - 64, 0)


CMIC_PORTS, CMIC_CONTROLLERS, CMIC_ANA = 1 << 0, 1 << 1, 1 << 3
OAES_NAMESPACES, OAES_ANA, OAES_DISCOVERY = 1 << 8, 1 << 11, 1 << 31
ONCS_COMPARE, ONCS_DSM, ONCS_WRITE_ZEROES = 1 << 0, 1 << 2, 1 << 3
NSATTR_WRITE_PROTECTED = 1 << 0


@dataclass(frozen=True)
class IdentifyNamespace(Layout):
    """CNS 00h, NVM Command Set Figure 97, with one format and no metadata. `eui64`, `nguid`: most significant first."""

    SIZE: ClassVar[int] = IDENTIFY_SIZE

    nsze: int = at(0, "Q")
    ncap: int = at(8, "Q")
    nuse: int = at(16, "Q")
    nsfeat: int = at(24, "B")  # bit 0 thin, 1 own atomic sizes, 4 optimal sizes
    nlbaf: int = at(25, "B")  # 0's based
    flbas: int = at(26, "B")
    mc: int = at(27, "B")
    dpc: int = at(28, "B")
    dps: int = at(29, "B")
    nmic: int = at(30, "B")  # bit 0 shared
    rescap: int = at(31, "B")
    fpi: int = at(32, "B")
    dlfeat: int = at(33, "B")  # bits 2:0 what a deallocated block reads, bit 3 write zeroes may deallocate
    nawun: int = at(34, "H")
    nawupf: int = at(36, "H")
    nacwu: int = at(38, "H")
    noiob: int = at(46, "H")
    npwg: int = at(64, "H")
    npwa: int = at(66, "H")
    npdg: int = at(68, "H")
    npda: int = at(70, "H")
    nows: int = at(72, "H")
    mssrl: int = at(74, "H")
    mcl: int = at(76, "I")
    msrc: int = at(80, "B")
    anagrpid: int = at(92, "I")
    nsattr: int = at(99, "B")
    nvmsetid: int = at(100, "H")
    endgid: int = at(102, "H")
    nguid: bytes = at(104, "16s", bytes(16))
    eui64: bytes = at(120, "8s", bytes(8))
    lbaf0: int = at(128, "I")  # bits 23:16 log2 of the block size, 15:0 metadata bytes

    @property
    def block_size(self) -> int:
        """Bytes of a logical block; 0 for an inactive namespace."""
        return 1 << (self.lbaf0 >> 16 & 0xFF) if self.nsze else 0

    @property
    def is_write_protected(self) -> bool:
        """Whether it takes no writes now."""
        return bool(self.nsattr & NSATTR_WRITE_PROTECTED)


def lbaf(block_size: int) -> int:
    """An LBA format without metadata; `block_size` a power of two, bytes."""
    return (block_size.bit_length() - 1) << 16


@dataclass(frozen=True)
class IndependentNamespace(Layout):
    """CNS 08h, Figure 280: what every command set has."""

    SIZE: ClassVar[int] = IDENTIFY_SIZE

    nsfeat: int = at(0, "B")
    nmic: int = at(1, "B")
    rescap: int = at(2, "B")
    fpi: int = at(3, "B")
    anagrpid: int = at(4, "I")
    nsattr: int = at(8, "B")
    nvmsetid: int = at(10, "H")
    endgid: int = at(12, "H")
    nstat: int = at(14, "B", 1)  # bit 0: ready


@dataclass(frozen=True)
class NvmController(Layout):
    """CNS 06h of the NVM command set, Figure 101 there. Limits as powers of two of 4 KiB pages; 0 for none."""

    SIZE: ClassVar[int] = IDENTIFY_SIZE

    vsl: int = at(0, "B")
    wzsl: int = at(1, "B")
    wusl: int = at(2, "B")
    dmrl: int = at(3, "B")  # ranges
    dmrsl: int = at(4, "I")  # logical blocks of a range
    dmsl: int = at(8, "Q")  # logical blocks in all


@dataclass(frozen=True)
class NamespaceDescriptors:
    """CNS 03h, Figure 276: who a namespace is. `nguid` and `eui64` in hex digits, "" where it has none."""

    uuid: UUID | None = None
    nguid: str = ""
    eui64: str = ""
    csi: int = NVM_COMMAND_SET

    def encode(self) -> bytes:
        """To 4096 bytes."""
        entries = [
            (_EUI64, bytes.fromhex(self.eui64)),
            (_NGUID, bytes.fromhex(self.nguid)),
            (_UUID, self.uuid.bytes if self.uuid else b""),
            (_CSI, bytes([self.csi])),
        ]
        packed = b"".join(_DESCRIPTOR.pack(kind, len(value)) + value for kind, value in entries if value)
        return packed.ljust(IDENTIFY_SIZE, b"\0")

    @classmethod
    def decode(cls, data: Buffer) -> "NamespaceDescriptors":
        """From what came; descriptors of unknown types are passed over. Raises ValueError where it is cut short."""
        raw, place, found = bytes(data), 0, dict[int, bytes]()
        while place + _DESCRIPTOR.size <= len(raw):
            kind, length = _DESCRIPTOR.unpack_from(raw, place)
            if kind == 0 or length == 0:
                break
            place += _DESCRIPTOR.size
            value = raw[place : place + length]
            if length != _LENGTHS.get(kind, length) or len(value) < length:
                raise ValueError(f"a namespace descriptor of type {kind} and {length} bytes")
            found[kind] = value
            place += length
        return cls(
            uuid=UUID(bytes=found[_UUID]) if _UUID in found else None,
            nguid=found.get(_NGUID, b"").hex(),
            eui64=found.get(_EUI64, b"").hex(),
            csi=found.get(_CSI, b"\0")[0],
        )


_EUI64, _NGUID, _UUID, _CSI = 1, 2, 3, 4
_LENGTHS = {_EUI64: 8, _NGUID: 16, _UUID: 16, _CSI: 1}
_DESCRIPTOR = struct.Struct("<BB2x")
NSIDS_MAX = 1024  # in one list


def encode_nsids(nsids: Iterable[int]) -> bytes:
    """A list of namespace ids, of at most 1,024, as CNS 02h gives it: ascending, 4096 bytes."""
    chosen = sorted(nsids)[:NSIDS_MAX]
    return struct.pack(f"<{len(chosen)}I", *chosen).ljust(IDENTIFY_SIZE, b"\0")


def decode_nsids(data: Buffer) -> list[int]:
    """The namespace ids up to the first 0."""
    nsids = [nsid for (nsid,) in struct.iter_unpack("<I", bytes(data[: len(data) // 4 * 4]))]
    return nsids[: nsids.index(0)] if 0 in nsids else nsids


def encode_command_sets() -> bytes:
    """CNS 1Ch, Figure 289: the one combination that there is, the NVM command set alone."""
    return struct.pack("<Q", 1 << NVM_COMMAND_SET).ljust(IDENTIFY_SIZE, b"\0")
