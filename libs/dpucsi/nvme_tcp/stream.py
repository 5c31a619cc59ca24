"""Bytes -> PDUs, without a socket. What cannot be a PDU raises the error that says how to end the connection.

Both ends read with it: the role decides which PDUs may come (NVMe/TCP Transport 1.0, sections 3.4 to 3.6).
"""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command, Completion
from dpucsi.nvme_tcp.digest import SIZE as DIGEST_SIZE
from dpucsi.nvme_tcp.digest import crc32c
from dpucsi.nvme_tcp.pdu import (
    COMMON,
    COMMON_SIZE,
    DATA,
    DATA_DIGEST,
    HEADER_DIGEST,
    HEADER_SIZES,
    IC,
    LAST,
    PLAIN,
    R2T,
    SUCCESS,
    TERM,
    TERM_DATA_MAX,
    C2HData,
    C2HTermReq,
    CapsuleCmd,
    CapsuleResp,
    Fes,
    H2CData,
    H2CTermReq,
    ICReq,
    ICResp,
    Pdu,
    PduType,
)

_OFFSET_OF = {"type": 0, "flags": 1, "hlen": 2, "pdo": 3, "plen": 4, "datal": 16}  # bytes into the header
_WITH_DATA = (PduType.CAPSULE_CMD, PduType.H2C_DATA, PduType.C2H_DATA)
_INITIALIZATIONS = (PduType.IC_REQ, PduType.IC_RESP)
_TERMINATIONS = (PduType.H2C_TERM_REQ, PduType.C2H_TERM_REQ)
_BARE = (*_INITIALIZATIONS, *_TERMINATIONS)  # never with digests


class Role(Enum):
    """Whose end reads."""

    HOST = frozenset({PduType.IC_RESP, PduType.C2H_TERM_REQ, PduType.CAPSULE_RESP, PduType.C2H_DATA, PduType.R2T})
    CONTROLLER = frozenset({PduType.IC_REQ, PduType.H2C_TERM_REQ, PduType.CAPSULE_CMD, PduType.H2C_DATA})


class PduError(Exception):
    """The peer broke the rules of the transport. `fes`, `fei`, `header`: what the termination request says."""

    def __init__(self, fes: Fes, fei: int, reason: str, header: bytes = b"") -> None:
        super().__init__(f"{reason} ({fes.name.lower()}, {fei:#x})")
        self.fes = fes
        self.fei = fei
        self.header = header


class _Common(NamedTuple):
    """The common header, and where in the buffer it begins."""

    kind: int
    flags: int
    hlen: int
    pdo: int
    plen: int
    start: int


class PduReader:
    """Collects bytes and gives back whole PDUs.

    `framing`: what both ends agreed on, set by the owner when the initialization is over. `data_max`: bytes of data
    that one PDU may bring, at most; the owner's own promise (in-capsule size, MAXH2CDATA) is for it to set.
    """

    def __init__(self, role: Role, *, data_max: int) -> None:
        self.framing = PLAIN
        self.data_max = data_max
        self._role = role
        self._is_initialized = False
        self._buffer = bytearray()

    def feed(self, data: Buffer) -> Iterator[Pdu]:
        """The PDUs that `data` completes, one at a time; raises PduError behind those that came before the error."""
        self._buffer += data
        return self._parse()

    def _parse(self) -> Iterator[Pdu]:
        buffer, start = self._buffer, 0
        try:
            while len(buffer) - start >= COMMON_SIZE:
                kind, flags, hlen, pdo, plen = COMMON.unpack_from(buffer, start)
                common = _Common(kind, flags, hlen, pdo, plen, start)
                known = self._check(common)
                if len(buffer) - start < common.plen:
                    return
                pdu = self._decode(known, common)
                start += common.plen
                self._is_initialized = True
                yield pdu
        finally:
            del buffer[:start]

    def _check(self, common: _Common) -> PduType:
        """What the common header alone tells, before a byte more is waited for."""
        if common.kind not in self._role.value:
            raise self._wrong("type", f"a PDU of type {common.kind:#04x}", common)
        known = PduType(common.kind)
        is_first = known in _INITIALIZATIONS
        if is_first == self._is_initialized and known not in _TERMINATIONS:
            text = "initialized twice" if is_first else f"{known.name} before the initialization"
            raise PduError(Fes.SEQUENCE_ERROR, 0, text, self._header(common))
        if common.hlen != HEADER_SIZES[known]:
            raise self._wrong("hlen", f"{known.name} with a header of {common.hlen} bytes", common)
        if known in _BARE:
            most = common.hlen + TERM_DATA_MAX * (known in _TERMINATIONS)
            if not common.hlen <= common.plen <= most:
                raise self._wrong("plen", f"{known.name} of {common.plen} bytes", common)
            return known
        if bool(common.flags & HEADER_DIGEST) != self.framing.header_digest:
            raise self._wrong("flags", f"{known.name} does not keep to the agreed header digest", common)
        self._check_data(known, common)
        return known

    def _check_data(self, known: PduType, common: _Common) -> None:
        header_end = common.hlen + DIGEST_SIZE * self.framing.header_digest
        if common.plen == header_end and known not in (PduType.H2C_DATA, PduType.C2H_DATA):
            return
        if common.plen <= header_end or known not in _WITH_DATA:
            raise self._wrong("plen", f"{known.name} of {common.plen} bytes", common)
        if bool(common.flags & DATA_DIGEST) != self.framing.data_digest:
            raise self._wrong("flags", f"{known.name} does not keep to the agreed data digest", common)
        if common.pdo < header_end or common.pdo % self.framing.alignment:
            raise self._wrong("pdo", f"{known.name} with data at byte {common.pdo}", common)
        length = common.plen - common.pdo - DIGEST_SIZE * self.framing.data_digest
        if length <= 0:
            raise self._wrong("plen", f"{known.name} of {common.plen} bytes, data at {common.pdo}", common)
        if length > self.data_max:
            text = f"{known.name} with {length} bytes of data, {self.data_max} are allowed"
            if known is PduType.CAPSULE_CMD:
                raise self._wrong("plen", text, common)
            raise PduError(Fes.LIMIT_EXCEEDED, 0, text, self._header(common))

    def _decode(self, known: PduType, common: _Common) -> Pdu:
        header = self._header(common)
        if known in _BARE:
            return self._bare(known, header, self._take(common.start + common.hlen, common.start + common.plen))
        if self.framing.header_digest:
            end = common.start + common.hlen
            came = int.from_bytes(self._take(end, end + DIGEST_SIZE), "little")
            if came != crc32c(header):
                raise PduError(Fes.HEADER_DIGEST_ERROR, came, f"the header digest of a {known.name}", header)
        if known is PduType.CAPSULE_RESP:
            return CapsuleResp(Completion.decode(header[COMMON_SIZE:]))
        if known is PduType.R2T:
            return R2T(*DATA.unpack_from(header, COMMON_SIZE))
        data, is_intact = self._data(common)
        if known is PduType.CAPSULE_CMD:
            return CapsuleCmd(Command.decode(header[COMMON_SIZE:]), data, is_intact)
        return self._transfer(known, common.flags, header, data, is_intact=is_intact)

    @staticmethod
    def _bare(known: PduType, header: bytes, rest: bytes) -> Pdu:
        """The PDUs without digests."""
        if known in _TERMINATIONS:
            fes, fei = TERM.unpack_from(header, COMMON_SIZE)
            return (H2CTermReq if known is PduType.H2C_TERM_REQ else C2HTermReq)(fes, fei, rest)
        pfv, align, digests, number = IC.unpack_from(header, COMMON_SIZE)
        kind = ICReq if known is PduType.IC_REQ else ICResp
        return kind(pfv, align, bool(digests & 1), bool(digests & 2), number)

    def _data(self, common: _Common) -> tuple[bytes, bool]:
        """The data of a PDU, and whether it is what was sent."""
        start, end = common.start + common.pdo, common.start + common.plen
        if common.plen == common.hlen + DIGEST_SIZE * self.framing.header_digest:
            return b"", True
        if not self.framing.data_digest:
            return self._take(start, end), True
        data = self._take(start, end - DIGEST_SIZE)
        return data, crc32c(data) == int.from_bytes(self._take(end - DIGEST_SIZE, end), "little")

    @staticmethod
    def _transfer(known: PduType, flags: int, header: bytes, data: bytes, *, is_intact: bool) -> Pdu:
        cccid, ttag, offset, length = DATA.unpack_from(header, COMMON_SIZE)
        if length != len(data):
            text = f"{known.name} says {length} bytes and has {len(data)}"
            raise PduError(Fes.INVALID_HEADER_FIELD, _OFFSET_OF["datal"], text, header)
        is_last = bool(flags & LAST)
        if known is PduType.H2C_DATA:
            return H2CData(cccid, ttag, offset, data, is_last, is_intact)
        return C2HData(cccid, offset, data, is_last, bool(flags & SUCCESS), is_intact)

    def _take(self, begin: int, end: int) -> bytes:
        with memoryview(self._buffer) as view:
            return bytes(view[begin:end])

    def _wrong(self, field: str, reason: str, common: _Common) -> PduError:
        return PduError(Fes.INVALID_HEADER_FIELD, _OFFSET_OF[field], reason, self._header(common))

    def _header(self, common: _Common) -> bytes:
        """Of this PDU, as far as it is here."""
        return self._take(common.start, min(common.start + max(common.hlen, COMMON_SIZE), len(self._buffer)))
