"""Log pages (NVMe Base 2.0, section 5.16), to bytes and back, and the command that asks for one."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import AdminOpcode, Command, Sgl
from dpucsi.nvme_tcp.layout import Layout, at


class LogId(IntEnum):
    """Which page (Figure 202)."""

    SUPPORTED_PAGES = 0x00
    ERROR = 0x01
    SMART = 0x02
    FIRMWARE = 0x03
    CHANGED_NAMESPACES = 0x04
    COMMANDS = 0x05  # supported and their effects
    ANA = 0x0C
    DISCOVERY = 0x70


@dataclass(frozen=True)
class LogRequest:
    """Get Log Page, Figures 197 to 201. `length`, `offset`: bytes. `retain`: the event that told of it stays."""

    page: int
    length: int
    offset: int = 0
    lsp: int = 0
    retain: bool = False
    nsid: int = 0

    @classmethod
    def of(cls, command: Command) -> "LogRequest":
        """From a command."""
        dwords = (command.cdw10 >> 16) + ((command.cdw11 & 0xFFFF) << 16) + 1
        return cls(
            page=command.cdw10 & 0xFF,
            length=dwords * 4,
            offset=command.cdw12 | command.cdw13 << 32,
            lsp=command.cdw10 >> 8 & 0x7F,
            retain=bool(command.cdw10 >> 15 & 1),
            nsid=command.nsid,
        )

    def command(self, cid: int = 0) -> Command:
        """To a command; `length` is a multiple of 4."""
        dwords = self.length // 4 - 1
        return Command(
            opcode=AdminOpcode.GET_LOG_PAGE,
            cid=cid,
            nsid=self.nsid,
            sgl=Sgl.transport(self.length),
            cdw10=self.page | self.lsp << 8 | self.retain << 15 | (dwords & 0xFFFF) << 16,
            cdw11=dwords >> 16,
            cdw12=self.offset & 0xFFFFFFFF,
            cdw13=self.offset >> 32,
        )


CHANGED_SIZE, CHANGED_MAX = 4096, 1024
TOO_MANY_CHANGED = 0xFFFFFFFF


def encode_changed(nsids: Iterable[int]) -> bytes:
    """The changed namespace list, Figure 211: all of them, or "more than 1,024"."""
    chosen = sorted(nsids)
    if len(chosen) > CHANGED_MAX:
        chosen = [TOO_MANY_CHANGED]
    return struct.pack(f"<{len(chosen)}I", *chosen).ljust(CHANGED_SIZE, b"\0")


def decode_changed(data: Buffer) -> list[int] | None:
    """The changed namespace ids; None where they are too many for a list: look at all."""
    raw = bytes(data[: len(data) // 4 * 4])
    nsids = [nsid for (nsid,) in struct.iter_unpack("<I", raw) if nsid]
    return None if TOO_MANY_CHANGED in nsids else nsids


class AnaState(IntEnum):
    """How well a namespace is reached through this controller (section 8.1.3)."""

    OPTIMIZED = 0x01
    NON_OPTIMIZED = 0x02
    INACCESSIBLE = 0x03
    PERSISTENT_LOSS = 0x04
    CHANGE = 0x0F


@dataclass(frozen=True)
class AnaGroup:
    """The namespaces that share a state."""

    group: int
    state: AnaState
    nsids: tuple[int, ...] = ()
    change_count: int = 0


_ANA_HEADER = struct.Struct("<QH6x")
_ANA_GROUP = struct.Struct("<IIQB15x")
ANA_GROUPS_ONLY = 1  # log specific field: without namespace ids


@dataclass(frozen=True)
class AnaLog:
    """The ANA log page, Figure 221."""

    change_count: int
    groups: tuple[AnaGroup, ...]

    def encode(self, *, groups_only: bool = False) -> bytes:
        """16 bytes of header, then each group: 32 bytes and its namespace ids."""
        parts = [_ANA_HEADER.pack(self.change_count, len(self.groups))]
        for entry in self.groups:
            nsids = () if groups_only else entry.nsids
            parts.append(_ANA_GROUP.pack(entry.group, len(nsids), entry.change_count, entry.state))
            parts.append(struct.pack(f"<{len(nsids)}I", *nsids))
        return b"".join(parts)

    @classmethod
    def decode(cls, data: Buffer) -> "AnaLog":
        """From at least the whole page; raises ValueError where it is cut short, or for an unknown state."""
        raw = bytes(data)
        try:
            change_count, count = _ANA_HEADER.unpack_from(raw)
            place, groups = _ANA_HEADER.size, []
            for _ in range(count):
                group, length, changes, state = _ANA_GROUP.unpack_from(raw, place)
                nsids = struct.unpack_from(f"<{length}I", raw, place + _ANA_GROUP.size)
                place += _ANA_GROUP.size + 4 * length
                groups.append(AnaGroup(group, AnaState(state & 0xF), nsids, changes))
        except struct.error as short:
            raise ValueError(f"an ANA log of {len(raw)} bytes: {short}") from short
        return cls(change_count, tuple(groups))

    def states(self) -> dict[int, AnaState]:
        """By ANA group id."""
        return {entry.group: entry.state for entry in self.groups}


def ana_log_size(groups: int, namespaces: int) -> int:
    """Bytes of the page, at most."""
    return _ANA_HEADER.size + groups * _ANA_GROUP.size + namespaces * 4


@dataclass(frozen=True)
class SmartLog(Layout):
    """SMART / health, Figure 207. Counters are those of the controller's life."""

    SIZE: ClassVar[int] = 512

    critical_warning: int = at(0, "B")
    temperature: int = at(1, "H")  # kelvin
    available_spare: int = at(3, "B", 100)
    spare_threshold: int = at(4, "B", 10)
    percentage_used: int = at(5, "B")
    data_units_read: int = at(32, "Q")  # 1,000 units of 512 bytes, rounded up
    data_units_written: int = at(48, "Q")
    host_reads: int = at(64, "Q")
    host_writes: int = at(80, "Q")
    power_cycles: int = at(112, "Q")
    power_on_hours: int = at(128, "Q")
    media_errors: int = at(160, "Q")
    error_entries: int = at(176, "Q")


@dataclass(frozen=True)
class ErrorEntry(Layout):
    """One entry of the error log, Figure 206. `count` 0: there is none."""

    SIZE: ClassVar[int] = 64

    count: int = at(0, "Q")
    sqid: int = at(8, "H")
    cid: int = at(10, "H")
    status: int = at(12, "H")
    parameter: int = at(14, "H")
    lba: int = at(16, "Q")
    nsid: int = at(24, "I")
    trtype: int = at(29, "B")


@dataclass(frozen=True)
class FirmwareLog(Layout):
    """Firmware slots, Figure 208: one, read only."""

    SIZE: ClassVar[int] = 512

    active: int = at(0, "B", 1)
    slot1: bytes = at(8, "8s", bytes(8))


SUPPORTED, CHANGES_CONTENT = 0x1, 0x2  # bits of a command's effects, Figure 212
_COMMANDS_SIZE = 4096


def encode_commands(admin: Mapping[int, int], io: Mapping[int, int]) -> bytes:
    """Commands supported and effects, Figure 211: 256 dwords for each kind, by opcode."""
    tables = [[kind.get(opcode, 0) for opcode in range(256)] for kind in (admin, io)]
    return struct.pack("<512I", *tables[0], *tables[1]).ljust(_COMMANDS_SIZE, b"\0")


def encode_supported_pages(pages: Iterable[int]) -> bytes:
    """Supported log pages, Figure 203: a dword for each."""
    chosen = frozenset(pages)
    return struct.pack("<256I", *(SUPPORTED if page in chosen else 0 for page in range(256)))
