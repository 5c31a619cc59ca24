"""The host's end of one queue: command ids, what is in flight, and the data that goes with it.

A command keeps its id until the controller has answered it, even where its caller has gone: an answer never reaches
another command. Everything is bounded: at most `depth - 1` commands are in flight, the others wait with their callers,
and nothing new is sent while the peer does not read.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import structlog

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command, Completion, Sgl
from dpucsi.nvme_tcp.pdu import (
    PLAIN,
    R2T,
    TERM_DATA_MAX,
    C2HData,
    C2HTermReq,
    CapsuleCmd,
    CapsuleResp,
    Fes,
    Framing,
    H2CData,
    H2CTermReq,
    ICReq,
    ICResp,
    Pdu,
    encode,
)
from dpucsi.nvme_tcp.status import DATA_TRANSFER_ERROR, TRANSIENT_TRANSPORT_ERROR, NvmeError
from dpucsi.nvme_tcp.stream import PduError, PduReader, Role

log = structlog.get_logger(__name__)
TRANSFER_MAX = 1 << 20  # bytes that one command moves at most, whatever the controller would allow
FABRICS_IN_CAPSULE = (
    8192  # bytes; what an admin or Connect command may bring along (NVMe/TCP Transport 1.0, section 3.1)
)
TERMINATION_S = 1.0  # a peer that does not take its termination request is cut
MAXH2CDATA_MIN = 4096
CPDA_MAX = 31


class ConnectionLostError(ConnectionError):
    """The controller cannot be reached any more; whether it carried out what was in flight is not known."""


@dataclass(slots=True)
class _InFlight:
    """One command. `data` goes out, `into` comes in; `moved`: bytes of either that have been moved so far."""

    answer: "asyncio.Future[int]"
    data: Buffer
    into: memoryview
    is_data_sent: bool
    moved: int = 0
    is_damaged: bool = False  # a data digest did not match

    def leave(self) -> None:
        """Its caller goes; the controller may still ask for the data, which is the caller's to change now."""
        if self.answer.done() and not self.answer.cancelled():
            self.answer.exception()  # came too late to be raised, so it is not reported as forgotten
        if not self.is_data_sent:
            self.data = bytes(self.data)


class HostQueue(asyncio.Protocol):
    """One connection. `on_lost` is called once, when it is over for another reason than our `abort`."""

    def __init__(self, *, depth: int, hdgst: bool, ddgst: bool, on_lost: Callable[[str], None]) -> None:
        self._request = ICReq(header_digest=hdgst, data_digest=ddgst)
        self._reader = PduReader(Role.HOST, data_max=TRANSFER_MAX)
        self._framing = PLAIN
        self._maxh2cdata = MAXH2CDATA_MIN
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._slots = asyncio.Semaphore(depth - 1)  # of `depth` entries one stays empty: full and empty differ
        self._free = deque(range(depth - 1))
        self._in_flight: dict[int, _InFlight] = {}
        self._lost = ""
        self.in_capsule_size = FABRICS_IN_CAPSULE

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._lost)

    @property
    def num_in_flight(self) -> int:
        """Commands without an answer, those of callers who left among them."""
        return len(self._in_flight)

    async def initialized(self) -> None:
        """Returns when the controller has agreed to talk; raises ConnectionLostError."""
        await asyncio.shield(self._ready)

    async def execute(self, command: Command, *, data: Buffer = b"", into: Buffer = b"") -> int:
        """Sends a command with `data`, or fills `into`; dwords 0 and 1 of its completion.

        Raises NvmeError or ConnectionLostError. `data` and `into` must be left alone until this returns or raises.
        """
        await self._slots.acquire()
        try:
            while not self._writable.is_set() and not self._lost:
                await self._writable.wait()
            self._check()
        except BaseException:
            self._slots.release()
            raise
        is_in_capsule = 0 < len(data) <= self.in_capsule_size
        entry = _InFlight(asyncio.get_running_loop().create_future(), data, memoryview(into), is_in_capsule)
        cid = self._free.popleft()
        self._in_flight[cid] = entry
        sgl = _sgl(data, entry.into, is_in_capsule=is_in_capsule)
        self._send(CapsuleCmd(replace(command, cid=cid, sgl=sgl), data if is_in_capsule else b""))
        try:
            return await entry.answer
        except asyncio.CancelledError:
            entry.leave()
            raise

    def abort(self, reason: str = "closed by us") -> None:
        """Ends it at once; what is in flight raises ConnectionLostError, `on_lost` is not called."""
        if not self._lost:
            self._lost = reason
            self._release()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=TRANSFER_MAX)
        if self._lost:  # aborted while it was dialled
            self._transport.abort()
            return
        self._send(self._request)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._lost:
            return
        try:
            for pdu in self._reader.feed(data):
                self._take(pdu)
                if self._lost:
                    return
        except PduError as wrong:
            log.warning("controller broke the rules of NVMe/TCP", error=str(wrong))
            self._terminate(wrong)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lose(f"connection lost: {exc}" if exc else "the controller closed the connection")

    def _check(self) -> None:
        if self._lost:
            raise ConnectionLostError(self._lost)

    def _send(self, pdu: Pdu) -> None:
        if self._transport is not None and not self._lost:
            self._transport.writelines(encode(pdu, self._framing))

    def _take(self, pdu: Pdu) -> None:
        match pdu:
            case CapsuleResp():
                self._answered(pdu.completion)
            case C2HData():
                self._receive(pdu)
            case R2T():
                self._transfer(pdu)
            case ICResp():
                self._agree(pdu)
            case C2HTermReq():
                log.warning("controller ended the connection", fes=pdu.fes, fei=pdu.fei, header=bytes(pdu.header).hex())
                self._lose(f"the controller ended the connection: error {pdu.fes:#x}, {pdu.fei:#x}")
                self.abort()
            case _:
                raise AssertionError(f"{type(pdu).__name__} is not for a host")

    def _agree(self, pdu: ICResp) -> None:
        """Section 3.6.2.3; what the controller may not say ends the connection."""
        for is_wrong, offset in (
            (pdu.pfv != 0, 8),
            (pdu.cpda > CPDA_MAX, 10),
            (pdu.header_digest and not self._request.header_digest, 11),
            (pdu.data_digest and not self._request.data_digest, 11),
            (pdu.maxh2cdata < MAXH2CDATA_MIN, 12),
        ):
            if is_wrong:
                raise PduError(Fes.INVALID_HEADER_FIELD, offset, f"not to be agreed on: {pdu}", _header(pdu))
        self._maxh2cdata = pdu.maxh2cdata
        self._framing = Framing(pdu.header_digest, pdu.data_digest, (pdu.cpda + 1) * 4)
        self._reader.framing = Framing(pdu.header_digest, pdu.data_digest, (self._request.hpda + 1) * 4)
        if not self._ready.done():
            self._ready.set_result(None)

    def _entry(self, cid: int, pdu: Pdu) -> _InFlight:
        entry = self._in_flight.get(cid)
        if entry is None:
            offset = 20 if isinstance(pdu, CapsuleResp) else 8  # of the command id in the header
            raise PduError(Fes.INVALID_HEADER_FIELD, offset, f"no command {cid} is in flight", _header(pdu))
        return entry

    def _receive(self, pdu: C2HData) -> None:
        """Data comes in order (section 3.3.2.1)."""
        entry = self._entry(pdu.cccid, pdu)
        end = pdu.datao + len(pdu.data)
        if pdu.datao != entry.moved:
            raise PduError(Fes.INVALID_HEADER_FIELD, 12, f"data from {pdu.datao} on, not {entry.moved}", _header(pdu))
        if end > len(entry.into):
            raise PduError(Fes.DATA_OUT_OF_RANGE, 0, f"data to {end} of {len(entry.into)}", _header(pdu))
        entry.into[pdu.datao : end] = pdu.data
        entry.moved = end
        entry.is_damaged |= not pdu.is_intact
        if pdu.is_success and pdu.is_last:
            self._answered(Completion(pdu.cccid), pdu)

    def _transfer(self, pdu: R2T) -> None:
        """Sends what the controller is ready to take."""
        entry = self._entry(pdu.cccid, pdu)
        end = pdu.r2to + pdu.r2tl
        if entry.is_data_sent or pdu.r2to != entry.moved or not pdu.r2tl:
            raise PduError(Fes.INVALID_HEADER_FIELD, 12, f"asked for data from {pdu.r2to} on", _header(pdu))
        if end > len(entry.data):
            raise PduError(Fes.DATA_OUT_OF_RANGE, 0, f"asked for data to {end} of {len(entry.data)}", _header(pdu))
        view = memoryview(entry.data)
        for start in range(pdu.r2to, end, self._maxh2cdata):
            stop = min(start + self._maxh2cdata, end)
            self._send(H2CData(pdu.cccid, pdu.ttag, start, view[start:stop], is_last=stop == end))
        entry.moved = end
        entry.is_data_sent = end == len(entry.data)

    def _answered(self, completion: Completion, pdu: "Pdu | None" = None) -> None:
        entry = self._entry(completion.cid, pdu or CapsuleResp(completion))
        self._forget(completion.cid)
        if entry.answer.done():  # its caller has left
            return
        status = completion.status
        if status.is_success and entry.is_damaged:
            entry.answer.set_exception(NvmeError(TRANSIENT_TRANSPORT_ERROR, reason="data digest"))
        elif status.is_success and entry.moved < len(entry.into):
            text = f"{entry.moved} of {len(entry.into)} bytes came"
            entry.answer.set_exception(NvmeError(DATA_TRANSFER_ERROR, reason=text))
        elif status.is_success:
            entry.answer.set_result(completion.result)
        else:
            entry.answer.set_exception(NvmeError(status, dnr=completion.dnr, result=completion.result))

    def _forget(self, cid: int) -> None:
        del self._in_flight[cid]
        self._free.append(cid)
        self._slots.release()

    def _terminate(self, wrong: PduError) -> None:
        self._send(H2CTermReq(wrong.fes, wrong.fei, wrong.header))
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(TERMINATION_S, self._transport.abort)
        self._lose(f"the controller broke the rules: {wrong}")

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = reason
            self._on_lost(reason)
            self._release()

    def _release(self) -> None:
        """Nobody waits any longer."""
        self._writable.set()
        if not self._ready.done():
            self._ready.set_exception(ConnectionLostError(self._lost))
            self._ready.exception()  # where nobody waits for it, nobody is told
        for cid, entry in list(self._in_flight.items()):
            self._forget(cid)
            if not entry.answer.done():
                entry.answer.set_exception(ConnectionLostError(self._lost))


def _sgl(data: Buffer, into: memoryview, *, is_in_capsule: bool) -> Sgl:
    if is_in_capsule:
        return Sgl.in_capsule(len(data))
    return Sgl.transport(len(data) or len(into))


def _header(pdu: Pdu) -> bytes:
    """Of a PDU that came, for the termination request."""
    return bytes(encode(pdu)[0])[:TERM_DATA_MAX]
