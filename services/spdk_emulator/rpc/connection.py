"""One JSON-RPC connection: what it asks is started in order; late answers come in the order of finishing."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import structlog

from spdk_emulator.rpc.errors import INVALID_REQUEST, RpcError, internal_error
from spdk_emulator.rpc.framing import REQUEST_MAX, NonsenseError, RequestFramer
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)
Dispatch: TypeAlias = Callable[[str, Json], "Json | Awaitable[Json]"]
Deliver: TypeAlias = "Callable[[dict[str, Json] | None], None]"


class Connection:
    """`wake` asks for a look; `forget` is called once, when the connection is over."""

    def __init__(
        self,
        sock: socket.socket,
        dispatch: Dispatch,
        wake: Callable[[], None],
        forget: "Callable[[Connection], None]",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._dispatch = dispatch
        self._wake = wake
        self._forget = forget
        self._framer = RequestFramer()
        self._unsent = bytearray()
        self._running: set[asyncio.Task[None]] = set()
        self._is_open = True
        self.is_readable = False
        self._watch()

    def read(self) -> None:
        """One look: everything that lies in the socket is started, in order."""
        self.is_readable = False
        try:
            data = self._sock.recv(REQUEST_MAX)
        except BlockingIOError:
            self._watch()
            return
        except OSError:
            data = b""
        if not data:  # also a half-closed socket: SPDK drops what it still owes
            self.close()
            return
        try:
            values = self._framer.feed(data)
        except NonsenseError as nonsense:
            log.info("connection closed", reason=str(nonsense))
            self.close()
            return
        for value in values:
            self._start(value)
        if self._framer.is_spoilt:
            self.close()
        if self._is_open:
            self._watch()

    def close(self) -> None:
        """Ends the connection; methods under way go on without anybody to answer to."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._forget(self)

    def _watch(self) -> None:
        self._loop.add_reader(self._sock, self._has_come)

    def _has_come(self) -> None:
        self._loop.remove_reader(self._sock)
        self.is_readable = True
        self._wake()

    def _start(self, value: Json) -> None:
        if not isinstance(value, list):
            self._start_one(value, self._answer)
        elif not value:
            self._answer(_failure(None, RpcError(INVALID_REQUEST, "Invalid Request")))
        else:
            self._start_batch(value)

    def _start_batch(self, members: list[Json]) -> None:
        """One answer, after the slowest member."""
        answers: list[dict[str, Json] | None] = [None] * len(members)
        missing = len(members)

        def deliver(place: int, answer: dict[str, Json] | None) -> None:
            nonlocal missing
            answers[place] = answer
            missing -= 1
            present = [entry for entry in answers if entry is not None]
            if not missing and present:
                self._send(json.dumps(present).encode())

        for place, member in enumerate(members):
            self._start_one(member, lambda answer, place=place: deliver(place, answer))  # type: ignore[misc]

    def _start_one(self, request: Json, deliver: Deliver) -> None:
        try:
            request_id, name, params = _request(request)
        except RpcError as wrong:
            deliver(_failure(None, wrong))
            return
        wants_answer = isinstance(request, dict) and "id" in request
        try:
            answer = self._dispatch(name, params)
        except RpcError as refused:
            deliver(_failure(request_id, refused) if wants_answer else None)
            return
        except Exception:  # a bug in one method must not end the whole process
            log.exception("a method failed", method=name)
            deliver(_failure(request_id, internal_error()))
            return
        if isinstance(answer, Awaitable):
            task = self._loop.create_task(self._finish(name, answer, request_id, deliver, wants_answer=wants_answer))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            deliver(_success(request_id, answer) if wants_answer else None)

    async def _finish(
        self, name: str, answer: Awaitable[Json], request_id: Json, deliver: Deliver, *, wants_answer: bool
    ) -> None:
        try:
            reply = _success(request_id, await answer)
        except RpcError as refused:
            reply = _failure(request_id, refused)
        except Exception:
            log.exception("a method failed", method=name)
            reply = _failure(request_id, internal_error())
        deliver(reply if wants_answer else None)

    def _answer(self, answer: dict[str, Json] | None) -> None:
        if answer is not None:
            self._send(json.dumps(answer).encode())

    def _send(self, data: bytes) -> None:
        if not self._is_open:
            return
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._sock, self._flush)
        else:
            self._loop.remove_writer(self._sock)


def _request(value: Json) -> tuple[Json, str, Json]:
    """(id, method, params); raises RpcError."""
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Invalid Request")
    if value.get("jsonrpc", "2.0") != "2.0" or value.keys() - {"jsonrpc", "id", "method", "params"}:
        raise RpcError(INVALID_REQUEST, "Invalid Request")
    name: Any = value["method"]
    return value.get("id"), name, value.get("params")


def _success(request_id: Json, result: Json) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def _failure(request_id: Json, error: RpcError) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": error.code, "message": error.message}}
