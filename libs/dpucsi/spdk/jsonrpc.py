"""JSON-RPC 2.0 as SPDK speaks it: bytes <-> messages, without a socket.

SPDK writes one JSON object after the other, without a length and in any pieces. `Framer` looks at each byte once,
whatever the pieces are: it follows strings and brackets until the top-level object ends, and only then parses it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from dpucsi.errors import InvalidArgumentError
from dpucsi.spdk.errors import ProtocolError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Params: TypeAlias = Mapping[str, Json]

REQUEST_MAX = 256 * 1024  # bytes; SPDK's receive buffer (SPDK_JSONRPC_RECV_BUF_SIZE)
ANSWER_MAX = 32 * 1024 * 1024  # bytes; SPDK's largest answer (SPDK_JSONRPC_SEND_BUF_SIZE_MAX)
DEPTH_MAX = 64  # SPDK's own parser stops there (SPDK_JSON_MAX_NESTING_DEPTH)

_BLANK = re.compile(rb"[ \t\r\n]*+")
# What is between two brackets: anything plain and whole strings. It stops at a bracket or at a string that is cut off.
_BETWEEN = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
# The rest of a string that was cut off, without a trailing lone backslash.
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


@dataclass(frozen=True)
class Result:
    """The answer to request `id`: it succeeded."""

    id: int
    value: Json


@dataclass(frozen=True)
class Failure:
    """The answer to request `id`: it was refused. `code` and `text` are for people (see dpucsi.spdk.errors)."""

    id: int
    code: int
    text: str


Message: TypeAlias = Result | Failure


def encode(request_id: int, method: str, params: Params | None = None) -> bytes:
    """One request. Raises InvalidArgumentError for one that SPDK's receive buffer cannot hold."""
    # Methods without parameters refuse even an empty object (spdk_get_version), so nothing is sent for nothing.
    request: dict[str, object] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params:
        request["params"] = dict(params)
    try:
        frame = json.dumps(request, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"the parameters of {method} cannot be written as JSON: {error}") from error
    if len(frame) >= REQUEST_MAX:
        raise InvalidArgumentError(
            f"{method} with {len(frame)} bytes is larger than what SPDK receives, {REQUEST_MAX - 1} bytes; ask for less"
        )
    return frame


class Framer:
    """Collects bytes and gives back whole messages.

    After a ProtocolError it is of no more use, as is the connection: where the next message starts is unknown.
    """

    def __init__(self, limit: int = ANSWER_MAX) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._restart()

    def _restart(self) -> None:
        self._scanned = 0  # bytes of the buffer that have been looked at
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, in the order in which they came. Raises ProtocolError."""
        self._buffer += data
        messages: list[Message] = []
        while (end := self._end_of_object()) is not None:
            messages.append(_message(self._buffer[:end]))
            del self._buffer[:end]
            self._restart()
        if len(self._buffer) > self._limit:
            self._refuse_size()
        return messages

    def _end_of_object(self) -> int | None:
        """Where the first object of the buffer ends; None while it is incomplete."""
        if not self._depth and not self._starts_object():
            return None
        while self._scanned < len(self._buffer):
            if self._in_string and not self._leave_string():
                return None
            if self._next_bracket() and self._depth == 0:
                if self._scanned > self._limit:
                    self._refuse_size()
                return self._scanned
        return None

    def _starts_object(self) -> bool:
        """Steps over blanks and the opening bracket; SPDK answers with objects, so anything else is nonsense."""
        blank = _BLANK.match(self._buffer)
        del self._buffer[: blank.end() if blank else 0]
        if not self._buffer:
            return False
        if self._buffer[0] != ord("{"):
            raise ProtocolError(f"an answer starts with {bytes(self._buffer[:40])!r}, not with a JSON object")
        self._scanned = self._depth = 1
        return True

    def _leave_string(self) -> bool:
        self._skip(_IN_STRING)
        if self._scanned == len(self._buffer) or self._buffer[self._scanned] != ord('"'):
            return False
        self._scanned += 1
        self._in_string = False
        return True

    def _next_bracket(self) -> bool:
        """Steps behind the next bracket. False: there is none yet, or a string is cut off before it."""
        self._skip(_BETWEEN)
        if self._scanned == len(self._buffer):
            return False
        byte = self._buffer[self._scanned]
        self._scanned += 1
        if byte == ord('"'):
            self._in_string = True
            return False
        self._depth += 1 if byte in b"{[" else -1
        if self._depth > DEPTH_MAX:
            raise ProtocolError(f"an answer is nested deeper than {DEPTH_MAX} levels")
        return True

    def _skip(self, what: re.Pattern[bytes]) -> None:
        found = what.match(self._buffer, self._scanned)
        self._scanned = found.end() if found else self._scanned

    def _refuse_size(self) -> NoReturn:
        raise ProtocolError(f"an answer is larger than {self._limit} bytes")


def _message(text: bytearray) -> Message:
    try:
        value = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"an answer is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"an answer is a {type(value).__name__}, not an object")
    return _answer(value)


def _answer(value: dict[str, Json]) -> Message:
    """JSON-RPC 2.0 section 5: an id, and either a result or an error."""
    request_id = value.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int):
        raise ProtocolError(f"an answer has the id {str(request_id)[:40]!r}, wanted one of our numbers")
    error = value.get("error")
    if error is None:
        if "result" not in value:
            raise ProtocolError(f"answer {request_id} has neither a result nor an error")
        return Result(request_id, value["result"])
    code, text = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(text, str):
        raise ProtocolError(f"answer {request_id} has an error without a code and a message")
    return Failure(request_id, code, text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
