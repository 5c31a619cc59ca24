"""One live connection: requests out, answers in, matched by id.

It never sends twice and never half-closes: SPDK drops the late answers of a half-closed connection. An answer belongs
to the id that it names, so a caller that has left cannot shift the answers of the others.
"""

import asyncio
from collections.abc import Iterator

import structlog

from dpucsi.spdk.errors import ConnectionLostError, ProtocolError, refusal
from dpucsi.spdk.jsonrpc import Failure, Framer, Json, Message, Params, encode
from dpucsi.spdk.trace import Trace, TracedCall

log = structlog.get_logger(__name__)


class NotSentError(Exception):
    """The connection ended before the request was sent, so sending it on the next one is safe."""


class _Request:
    """One request in flight. Its `answer` is cancelled when the caller leaves; the id is taken until SPDK answers."""

    __slots__ = ("answer", "method", "traced")

    def __init__(self, method: str, traced: TracedCall | None) -> None:
        self.method = method
        self.traced = traced
        self.answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()


class Connection(asyncio.Protocol):
    """`window` requests are in flight at most; the others wait for their turn in the order in which they came."""

    def __init__(self, spdk: str, ids: Iterator[int], window: int) -> None:
        self.spdk = spdk  # what errors and logs call the far side
        self.trace: Trace | None = None
        self.lost = asyncio.Event()
        self.reason = ""  # why it was lost
        self.heard_at = 0.0  # loop time of the last bytes
        self._ids = ids
        self._window = window
        self._slots = asyncio.Semaphore(window)
        self._flight: dict[int, _Request] = {}
        self._outbox: list[bytes] = []
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def call(self, method: str, params: Params | None = None) -> Json:
        """The result. Raises NotSentError, ConnectionLostError, InvalidArgumentError, or what `refusal` makes."""
        request_id = next(self._ids)
        frame = encode(request_id, method, params)
        await self._slots.acquire()
        try:
            await self._writable.wait()
        except asyncio.CancelledError:
            self._slots.release()
            raise
        if self.reason:
            self._slots.release()
            raise NotSentError
        traced = self.trace.sent(self.spdk, method, params or {}) if self.trace else None
        request = self._flight[request_id] = _Request(method, traced)
        self._send(frame)
        try:
            return await request.answer
        finally:
            self._give_up_when_nobody_is_answered()

    async def drain(self, grace_s: float) -> None:
        """Returns when every call in flight has its answer, or after `grace_s` seconds."""
        waiting = [request.answer for request in self._flight.values() if not request.answer.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=grace_s)

    def end(self, reason: str) -> None:
        """Closes at once; the calls in flight fail with `reason`."""
        self.reason = self.reason or reason
        if self._transport is not None:
            self._transport.abort()

    def _send(self, frame: bytes) -> None:
        """Requests of one turn of the loop leave in one write, so that SPDK takes them in one look."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(frame)

    def _flush(self) -> None:
        frames, self._outbox = self._outbox, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(frames))

    def _give_up_when_nobody_is_answered(self) -> None:
        """A full window of which every caller has left would block every later call for ever: start afresh."""
        flight = self._flight
        if len(flight) >= self._window and all(request.answer.cancelled() for request in flight.values()):
            self.end(f"none of {len(flight)} requests was answered before its caller left")

    # What the event loop calls, asyncio.Protocol:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.heard_at = asyncio.get_running_loop().time()

    def pause_writing(self) -> None:
        """SPDK reads slower than we write: no further request is sent until it has caught up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """SPDK has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Some bytes of answers."""
        self.heard_at = asyncio.get_running_loop().time()
        if self.reason:
            return  # ended by us: what still arrives is not trusted
        try:
            for message in self._framer.feed(data):
                self._take(message)
        except ProtocolError as nonsense:
            self.end(f"the peer does not speak JSON-RPC: {nonsense}")

    def connection_lost(self, error: Exception | None) -> None:
        """The end: every call in flight fails, every call that waits for its turn goes elsewhere."""
        self.reason = self.reason or (f"the connection broke: {error}" if error else "SPDK closed the connection")
        self.lost.set()
        flight, self._flight = self._flight, {}
        for request in flight.values():
            if not request.answer.done():
                request.answer.set_exception(self._loss_of(request.method))
        self._writable.set()
        for _ in flight:
            self._slots.release()  # each caller that wakes up passes its slot on

    def _loss_of(self, method: str) -> ConnectionLostError:
        return ConnectionLostError(
            f"{self.spdk}: {self.reason}; whether {method} was carried out is unknown, read the state"
        )

    def _take(self, message: Message) -> None:
        request = self._flight.pop(message.id, None)
        if request is None:
            raise ProtocolError(f"an answer has the id {message.id}, which no request in flight has")
        self._slots.release()
        if request.traced is not None and self.trace is not None:
            self.trace.answered(request.traced, refused=isinstance(message, Failure))
        if request.answer.done():
            log.debug("late answer dropped", spdk=self.spdk, method=request.method, id=message.id)
        elif isinstance(message, Failure):
            request.answer.set_exception(refusal(self.spdk, request.method, message.code, message.text))
        else:
            request.answer.set_result(message.value)
