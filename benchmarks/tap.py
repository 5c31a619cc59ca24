"""A transparent JSON-RPC proxy between a service and its SPDK: every call as seen from outside, with times and order.

It stands on a unix socket of its own, passes bytes on before it reads them, and knows neither our client nor our typed
methods. It costs a hop in each direction, so calls and rounds are counted with it and times are taken without it.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


@dataclass
class Call:
    """One request and its answer; times are of one clock for all taps, in seconds."""

    spdk: str
    method: str
    params: dict[str, Any]
    sent_at: float
    answered_at: float | None = None
    result: Any = None
    refused: bool = False


@dataclass
class Recording:
    """Calls of one or more taps, in the order in which they were sent."""

    calls: list[Call] = field(default_factory=list)

    def cut(self) -> list[Call]:
        """Takes out what was recorded so far; a call without its answer makes the cut meaningless and is refused."""
        calls, self.calls = self.calls, []
        late = [call.method for call in calls if call.answered_at is None]
        if late:
            raise RuntimeError(f"not answered when the operation had ended: {', '.join(late)}")
        return calls


def round_numbers(calls: Iterable[Call]) -> list[int]:
    """For each call, in order of sending, the round it belongs to, from 1.

    A round begins with a request that was sent after an answer to a request of the present round, or of one before it,
    had come in since the present round began: it may depend on that answer. (Pessimistic: it need not.)
    """
    rounds: list[int] = []
    began = float("-inf")
    seen: list[Call] = []
    for call in calls:
        answers = [other.answered_at for other in seen if other.answered_at is not None]
        if not rounds or any(began < at <= call.sent_at for at in answers):
            rounds.append((rounds[-1] if rounds else 0) + 1)
            began = call.sent_at
        else:
            rounds.append(rounds[-1])
        seen.append(call)
    return rounds


class Tap:
    """Listens on `path` and forwards to the unix socket `upstream`; `name` says which SPDK that is."""

    def __init__(self, name: str, path: Path, upstream: Path, recording: Recording) -> None:
        self._name = name
        self.path = path
        self._upstream = upstream
        self._recording = recording
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def close(self) -> None:
        """Drops every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._upstream)
        flight: dict[object, Call] = {}
        ways = [
            _forward(reader, far_writer, lambda message, at: self._asked(flight, message, at)),
            _forward(far_reader, writer, lambda message, at: _answered(flight, message, at)),
        ]
        tasks = [asyncio.create_task(way) for way in ways]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, far_writer):
            end.close()

    def _asked(self, flight: dict[object, Call], message: dict[str, Any], at: float) -> None:
        call = Call(self._name, message["method"], message.get("params") or {}, at)
        flight[message["id"]] = call
        self._recording.calls.append(call)


def _answered(flight: dict[object, Call], message: dict[str, Any], at: float) -> None:
    call = flight.pop(message["id"])
    call.answered_at = at
    call.refused = "error" in message
    call.result = message.get("result")


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[dict[str, Any], float], None]
) -> None:
    decoder = json.JSONDecoder()
    text = ""
    while data := await reader.read(CHUNK):
        at = time.perf_counter()
        writer.write(data)
        await writer.drain()
        text = (text + data.decode()).lstrip()
        while text:
            try:
                message, end = decoder.raw_decode(text)
            except ValueError:  # the rest of it is on its way
                break
            text = text[end:].lstrip()
            note(message, at)
