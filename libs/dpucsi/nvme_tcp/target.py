"""The controller's end of one queue: PDUs in, commands out, replies back.

Everything is bounded: as many commands as the queue has entries, the data that is asked for (`incoming`), and what a
peer that does not read leaves in the send buffer: then nothing new is read and nothing new is begun on this queue.
Commands that were begun are never cancelled from here, so when `finished` returns none of them is running.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import structlog

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import AdminOpcode, Command, Completion
from dpucsi.nvme_tcp.incoming import ADMIN_IN_CAPSULE, Arrived, Incoming, header_of
from dpucsi.nvme_tcp.pdu import (
    PLAIN,
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
    PduType,
    encode,
)
from dpucsi.nvme_tcp.status import (
    ABORT_REQUESTED,
    COMMAND_ID_CONFLICT,
    DATA_SGL_LENGTH_INVALID,
    INTERNAL_ERROR,
    TRANSIENT_TRANSPORT_ERROR,
    NvmeError,
)
from dpucsi.nvme_tcp.stream import PduError, PduReader, Role

log = structlog.get_logger(__name__)
HPDA_MAX = 31
LINGER_S = 2.0  # that long a peer may take to read its termination request and to close
UNCONNECTED_SIZE = 2  # entries of a queue before Connect says how many


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command gives: dwords 0 and 1 of its completion, and data for the host."""

    result: int = 0
    data: Buffer = b""


Serve: TypeAlias = "Callable[[Command, Buffer], Awaitable[Reply]]"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a transport. Bytes; `data_max` is also MAXH2CDATA. `c2h_success`: data may stand for its completion too."""

    in_capsule: int = 4096
    data_max: int = 131072
    c2h_success: bool = True


class TargetQueue(asyncio.Protocol):
    """One connection. `serve` does commands and raises NvmeError; `on_lost` is called once, when the peer is gone."""

    def __init__(self, serve: Serve, limits: Limits, on_lost: Callable[[], None]) -> None:
        self._serve = serve
        self._limits = limits
        self._on_lost = on_lost
        self._reader = PduReader(Role.CONTROLLER, data_max=limits.data_max)
        self._framing = PLAIN
        self._incoming = Incoming(in_capsule_max=ADMIN_IN_CAPSULE, data_max=limits.data_max)
        self._transport: asyncio.Transport | None = None
        self._in_flight: dict[int, Command] = {}
        self._running: dict[asyncio.Task[None], Command] = {}
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_over = False
        self._finished = asyncio.Event()
        self._size = UNCONNECTED_SIZE
        self._head = 0
        self._has_flow_control = True
        self.qid = 0
        self.local: tuple[str, int] = ("", 0)
        self.peer: tuple[str, int] = ("", 0)

    @property
    def is_over(self) -> bool:
        """Whether it takes no commands any more."""
        return self._is_over

    def connect(self, *, qid: int, size: int, has_flow_control: bool) -> None:
        """Connect was accepted: `size` entries; without flow control the submission queue head is not told."""
        self.qid, self._size, self._has_flow_control = qid, size, has_flow_control
        self._incoming.in_capsule_max = self._limits.in_capsule if qid else ADMIN_IN_CAPSULE

    def cut(self) -> None:
        """Ends it at once: nothing is read, begun or answered any more."""
        self._is_over = True
        self._incoming.clear()
        self._may_write.set()
        if self._transport is not None:
            self._transport.abort()

    async def finished(self) -> None:
        """Returns when the connection is gone and no command of it is running any more."""
        await self._finished.wait()

    async def settled(self, nsid: int) -> None:
        """Returns when the commands of this namespace that run now have ended."""
        running = [task for task, command in self._running.items() if command.nsid == nsid and not command.is_fabrics]
        if running:
            await asyncio.wait(running)

    def cancel_all(self) -> None:
        """Gives up what is running: for those whose late effects do no harm."""
        for task in list(self._running):
            task.cancel()

    def abort_waiting(self, cid: int) -> bool:
        """Aborts a command that was not begun; whether there was one."""
        if not self._incoming.drop_waiting(cid):
            return False
        self._complete(Completion(cid, ABORT_REQUESTED))
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=4 * self._limits.data_max)
        self.local = _address(transport.get_extra_info("sockname"))
        self.peer = _address(transport.get_extra_info("peername"))
        if self._is_over:  # cut while it was accepted
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._is_over:
            return
        try:
            for pdu in self._reader.feed(data):
                self._take(pdu)
                if self._is_over:
                    return
        except PduError as wrong:
            self._terminate(wrong)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the peer does not read, so it is not read either."""
        self._may_write.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._may_write.set()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._is_over = True
        self._transport = None
        self._incoming.clear()
        self._may_write.set()
        self._look_finished()
        self._on_lost()

    def _take(self, pdu: Pdu) -> None:
        match pdu:
            case CapsuleCmd():
                self._begin(pdu)
            case H2CData():
                arrived = self._incoming.feed(pdu)
                if arrived is not None:
                    self._start(arrived)
            case ICReq():
                self._initialize(pdu)
            case H2CTermReq():
                log.warning("host ended the connection", peer=self.peer[0], fes=pdu.fes, fei=pdu.fei)
                self.cut()
            case _:
                raise AssertionError(f"{type(pdu).__name__} is not for a controller")

    def _initialize(self, request: ICReq) -> None:
        """Section 3.6.2.2: digests as the host wants them, data as early in a PDU as can be."""
        if request.pfv != 0:
            raise PduError(Fes.INVALID_HEADER_FIELD, 8, f"protocol version {request.pfv}", header_of(request))
        if request.hpda > HPDA_MAX:
            raise PduError(Fes.INVALID_HEADER_FIELD, 10, f"data alignment {request.hpda}", header_of(request))
        digests = request.header_digest, request.data_digest
        self._send(ICResp(0, 0, *digests, maxh2cdata=self._limits.data_max))
        self._framing = Framing(*digests, alignment=(request.hpda + 1) * 4)
        self._reader.framing = Framing(*digests)

    def _begin(self, pdu: CapsuleCmd) -> None:
        command = pdu.command
        if len(self._in_flight) >= self._size:
            text = f"more than {self._size} commands on queue {self.qid}"
            raise PduError(Fes.SEQUENCE_ERROR, 0, text, header_of(pdu))
        self._head = (self._head + 1) % self._size
        known = self._in_flight.get(command.cid)
        if known is not None and not (command.is_fabrics and self._forget(known)):
            self._respond(Completion(command.cid, COMMAND_ID_CONFLICT, dnr=True))
            return
        self._in_flight[command.cid] = command
        try:
            arrived = self._incoming.begin(pdu)
        except NvmeError as refused:
            self._refuse(command, refused)
            return
        if arrived is not None:
            self._start(arrived)
        else:
            self._ask()

    def _forget(self, known: Command) -> bool:
        """SPDK's host (nvme_ctrlr_destruct) gives up event requests in silence, and shuts down with their ids."""
        if self.qid or known.opcode != AdminOpcode.ASYNC_EVENT_REQUEST:
            return False
        for task in [task for task, command in self._running.items() if command is known]:
            task.cancel()
        return True

    def _ask(self) -> None:
        for pdu in self._incoming.asks():
            self._send(pdu)

    def _start(self, arrived: Arrived) -> None:
        task = asyncio.get_running_loop().create_task(self._run(arrived))
        self._running[task] = arrived.command
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._look_finished()

    def _look_finished(self) -> None:
        if self._transport is None and self._is_over and not self._running:
            self._finished.set()

    async def _run(self, arrived: Arrived) -> None:
        command = arrived.command
        try:
            while not self._may_write.is_set():
                await self._may_write.wait()
            if self._is_over:
                return
            if arrived.is_intact:
                self._reply(command, await self._serve(command, arrived.data))
            else:
                self._refuse(command, NvmeError(TRANSIENT_TRANSPORT_ERROR, reason="data digest"))
        except NvmeError as refused:
            self._refuse(command, refused)
        except Exception:
            log.exception("command failed", command=command.describe(), qid=self.qid)
            self._complete(Completion(command.cid, INTERNAL_ERROR))
        finally:
            self._incoming.done(arrived)
            self._ask()

    def _reply(self, command: Command, reply: Reply) -> None:
        data = reply.data
        if len(data) > command.sgl.length:
            raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{len(data)} for {command.sgl.length} bytes")
        is_success = self._limits.c2h_success and not self._has_flow_control and not reply.result
        if data:
            self._send(C2HData(command.cid, 0, data, is_success=is_success))
        if data and is_success:
            self._in_flight.pop(command.cid, None)
        else:
            self._complete(Completion(command.cid, result=reply.result))

    def _refuse(self, command: Command, refused: NvmeError) -> None:
        log.debug("command refused", command=command.describe(), qid=self.qid, error=str(refused))
        self._complete(Completion(command.cid, refused.status, refused.result, dnr=refused.dnr))

    def _complete(self, completion: Completion) -> None:
        self._in_flight.pop(completion.cid, None)
        self._respond(completion)

    def _respond(self, completion: Completion) -> None:
        head = self._head if self._has_flow_control else 0
        self._send(
            CapsuleResp(
                Completion(completion.cid, completion.status, completion.result, head, self.qid, completion.dnr)
            )
        )

    def _send(self, pdu: Pdu) -> None:
        if self._transport is not None and not self._is_over:
            self._transport.writelines(encode(pdu, self._framing))

    def _terminate(self, wrong: PduError) -> None:
        """Says what was wrong, and hears nothing any more; the peer closes, or is cut off.

        A termination request is not argued with (section 3.5).
        """
        log.warning("host broke the rules of NVMe/TCP", peer=self.peer[0], qid=self.qid, error=str(wrong))
        if wrong.header[:1] == bytes([PduType.H2C_TERM_REQ]):
            self.cut()
            return
        self._send(C2HTermReq(wrong.fes, wrong.fei, wrong.header))
        self._is_over = True
        self._incoming.clear()
        self._may_write.set()
        if self._transport is not None:
            if self._transport.can_write_eof():
                self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)


def _address(name: object) -> tuple[str, int]:
    """Of a TCP socket; of any other ("", 0)."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)
