"""Bytes of one connection -> requests, without a socket, with SPDK's limits."""

import json
from typing import NoReturn

from spdk_emulator.rpc.params import Json

REQUEST_MAX = 256 * 1024  # bytes: SPDK's receive buffer (SPDK_JSONRPC_RECV_BUF_SIZE)
VALUES_MAX = 8192  # JSON values of one request (SPDK_JSONRPC_MAX_VALUES)
TOKEN_MAX = 12  # bytes that an unfinished literal, number or escape can have before its error is final


class NonsenseError(Exception):
    """What came is no JSON, or too much of it: SPDK closes the connection without an answer."""


class RequestFramer:
    """Collects bytes and gives back whole top-level values."""

    def __init__(self) -> None:
        self._buffer = b""
        self._decoder = json.JSONDecoder(parse_constant=_refuse)

    def feed(self, data: bytes) -> list[Json]:
        """The values that `data` completes; those before nonsense are still given, the next call raises."""
        self._buffer += data
        values: list[Json] = []
        while self._buffer:
            try:
                value = self._next()
            except NonsenseError:
                if values:
                    return values
                raise
            if value is None:
                break
            values.append(value[0])
        if len(self._buffer) >= REQUEST_MAX:
            raise NonsenseError(f"a request of {REQUEST_MAX} bytes or more")
        return values

    @property
    def is_spoilt(self) -> bool:
        """True where what is left can never become a request."""
        try:
            self._next()
        except NonsenseError:
            return True
        return False

    def _next(self) -> tuple[Json] | None:
        """Takes the first value off the buffer; None while it is incomplete."""
        words = self._buffer.lstrip(b" \t\r\n")
        try:
            text = words.decode()
        except UnicodeDecodeError as wrong:
            if wrong.end < len(words):
                raise NonsenseError("not UTF-8") from wrong
            return None
        if not text:
            self._buffer = b""
            return None
        try:
            value, end = self._decoder.raw_decode(text)
        except json.JSONDecodeError as wrong:
            if (wrong.pos >= len(text) - TOKEN_MAX and not _is_closed(text)) or wrong.msg.startswith("Unterminated"):
                return None
            raise NonsenseError(wrong.msg) from wrong
        except (ValueError, RecursionError) as wrong:
            raise NonsenseError(str(wrong)) from wrong
        if count_values(value) > VALUES_MAX:
            raise NonsenseError(f"more than {VALUES_MAX} values")
        self._buffer = text[end:].encode()
        return (value,)


def count_values(value: Json) -> int:
    """As SPDK counts: brackets are values, names are values."""
    if isinstance(value, dict):
        return 2 + sum(1 + count_values(inner) for inner in value.values())
    if isinstance(value, list):
        return 2 + sum(count_values(inner) for inner in value)
    return 1


def _is_closed(text: str) -> bool:
    """True where every bracket outside of strings is closed: what follows cannot repair it."""
    depth, is_string, is_escaped = 0, False, False
    for sign in text:
        if is_escaped:
            is_escaped = False
        elif is_string:
            is_escaped, is_string = sign == "\\", sign != '"'
        elif sign == '"':
            is_string = True
        elif sign in "{[":
            depth += 1
        elif sign in "}]":
            depth -= 1
    return depth <= 0 and not is_string


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
