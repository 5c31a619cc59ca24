"""The data that commands bring along: which bytes a controller asks for, and when they are all there. No I/O.

One R2T is in flight for a command at a time, and it asks for all of its data: that is within every MAXR2T.
"""

from collections import deque
from dataclasses import dataclass, field

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import PSDT_MASK, PSDT_SGL, Command, SglType
from dpucsi.nvme_tcp.pdu import COMMON_SIZE, HEADER_SIZES, PLAIN, R2T, CapsuleCmd, Fes, H2CData, Pdu, PduType, encode
from dpucsi.nvme_tcp.status import (
    DATA_SGL_LENGTH_INVALID,
    INVALID_FIELD,
    SGL_DESCRIPTOR_TYPE_INVALID,
    SGL_OFFSET_INVALID,
    NvmeError,
)
from dpucsi.nvme_tcp.stream import PduError

ADMIN_IN_CAPSULE = (
    8192  # bytes that every admin and Fabrics command may bring (NVMe/TCP Transport 1.0, section 3.4.1.1)
)
HELD_MAX = 8 << 20  # bytes of data that one queue asks for before the commands that have theirs are done
_TTAGS = 1 << 16
_CCCID, _TTAG, _DATAO = COMMON_SIZE, COMMON_SIZE + 2, COMMON_SIZE + 4  # offsets in the header


@dataclass(frozen=True, slots=True)
class Arrived:
    """A command with all of its data. `is_intact` False: a digest did not match."""

    command: Command
    data: Buffer
    is_intact: bool = True


@dataclass(slots=True)
class _Transfer:
    command: Command
    received: int = 0
    parts: list[Buffer] = field(default_factory=list)
    is_intact: bool = True

    @property
    def length(self) -> int:
        return self.command.sgl.length


class Incoming:
    """Of one queue. `in_capsule_max`, `data_max`: bytes that a command may bring in its capsule, and at all."""

    def __init__(self, *, in_capsule_max: int, data_max: int) -> None:
        self.in_capsule_max = in_capsule_max
        self._data_max = data_max
        self._waiting: deque[Command] = deque()
        self._transfers: dict[int, _Transfer] = {}
        self._held = 0
        self._last_ttag = 0

    def begin(self, pdu: CapsuleCmd) -> Arrived | None:
        """A new command: complete as it is, or None where its data comes later: see `asks`.

        Raises NvmeError for a command to be refused, PduError for one that ends the connection.
        """
        command, data = pdu.command, pdu.data
        is_exempt = command.is_fabrics and len(data) <= ADMIN_IN_CAPSULE
        if len(data) > self.in_capsule_max and not is_exempt:
            text = f"{len(data)} bytes in a capsule, {self.in_capsule_max} are allowed"
            raise PduError(Fes.LIMIT_EXCEEDED, 0, text, header_of(pdu))
        if not command.sends_data and not command.receives_data:
            return Arrived(command, b"")
        self._check(command, data)
        if data or not command.sends_data or not command.sgl.length:
            return Arrived(command, data, pdu.is_intact)
        self._waiting.append(command)
        return None

    def asks(self) -> list[R2T]:
        """What to ask for now: as much as may be held."""
        found = []
        while self._waiting and (not self._held or self._held + self._waiting[0].sgl.length <= HELD_MAX):
            command = self._waiting.popleft()
            self._held += command.sgl.length
            ttag = self._free_ttag()
            self._transfers[ttag] = _Transfer(command)
            found.append(R2T(command.cid, ttag, 0, command.sgl.length))
        return found

    def feed(self, pdu: H2CData) -> Arrived | None:
        """The command whose data is complete now; raises PduError."""
        transfer = self._transfers.get(pdu.ttag)
        if transfer is None:
            raise _wrong(_TTAG, f"no transfer {pdu.ttag}", pdu)
        if transfer.command.cid != pdu.cccid:
            raise _wrong(_CCCID, f"transfer {pdu.ttag} is not of command {pdu.cccid}", pdu)
        end = pdu.datao + len(pdu.data)
        if pdu.datao != transfer.received or end > transfer.length:
            text = f"bytes {pdu.datao} to {end} after {transfer.received} of {transfer.length}"
            raise PduError(Fes.DATA_OUT_OF_RANGE, 0, text, header_of(pdu))
        if pdu.is_last != (end == transfer.length):
            raise _wrong(1, f"last or not last at byte {end} of {transfer.length}", pdu)
        transfer.parts.append(pdu.data)
        transfer.received = end
        transfer.is_intact &= pdu.is_intact
        if end < transfer.length:
            return None
        del self._transfers[pdu.ttag]
        data = transfer.parts[0] if len(transfer.parts) == 1 else b"".join(transfer.parts)
        return Arrived(transfer.command, data, transfer.is_intact)

    def done(self, arrived: Arrived) -> None:
        """Its data is not held any longer."""
        if arrived.command.sgl.kind == SglType.TRANSPORT and arrived.command.sends_data:
            self._held -= len(arrived.data)

    def drop_waiting(self, cid: int) -> bool:
        """Forgets a command whose data nobody asked for yet; whether there was one."""
        found = next((command for command in self._waiting if command.cid == cid), None)
        if found is not None:
            self._waiting.remove(found)
        return found is not None

    def clear(self) -> None:
        """The connection is over: nothing comes any more."""
        self._waiting.clear()
        self._transfers.clear()

    def _check(self, command: Command, data: Buffer) -> None:
        """The data pointer (NVMe Base 2.0, section 4.1.2)."""
        sgl = command.sgl
        if command.flags & PSDT_MASK != PSDT_SGL and (data or sgl.length):
            raise NvmeError(INVALID_FIELD, dnr=True, reason="no SGL")
        if sgl.kind == SglType.IN_CAPSULE:
            if not command.sends_data:
                raise NvmeError(SGL_DESCRIPTOR_TYPE_INVALID, dnr=True, reason="in-capsule data to a host")
            if sgl.address:
                raise NvmeError(SGL_OFFSET_INVALID, dnr=True, reason=f"offset {sgl.address}")
            if sgl.length != len(data):
                raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{len(data)} of {sgl.length} bytes")
        elif data:
            raise NvmeError(SGL_DESCRIPTOR_TYPE_INVALID, dnr=True, reason="data in the capsule, and none said")
        elif sgl.kind != SglType.TRANSPORT and sgl.length:
            raise NvmeError(SGL_DESCRIPTOR_TYPE_INVALID, dnr=True, reason=f"type {sgl.kind:#04x}")
        elif sgl.length > self._data_max:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"{sgl.length} bytes, {self._data_max} are allowed")

    def _free_ttag(self) -> int:
        while True:
            self._last_ttag = (self._last_ttag + 1) % _TTAGS
            if self._last_ttag not in self._transfers:
                return self._last_ttag


def header_of(pdu: Pdu) -> bytes:
    """The header of a PDU that came, for the termination request."""
    whole = bytes(encode(pdu, PLAIN)[0])
    return whole[: HEADER_SIZES[PduType(whole[0])]]


def _wrong(offset: int, reason: str, pdu: Pdu) -> PduError:
    return PduError(Fes.INVALID_HEADER_FIELD, offset, reason, header_of(pdu))
