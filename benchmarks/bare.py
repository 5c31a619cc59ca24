"""The same JSON-RPC calls by hand: one lasting raw connection to each SPDK, no service, no client library, no waiting.

A `Script` is what a tap recorded of one operation. It is replayed with the same methods and parameters for another
volume, and with the same concurrency: a call is sent as soon as every call whose answer had come in before it was
sent, when it was recorded, has been answered. What is ready at the same moment leaves in one write.
"""

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from benchmarks.tap import Call
from dpucsi import naming

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Step:
    """One call; `after` are the indexes of the calls that must have been answered before it is sent."""

    spdk: str
    method: str
    params: str  # JSON
    after: frozenset[int]
    result: str  # the recorded result where that was a name, which later calls may use; else ""
    refused: bool


@dataclass(frozen=True)
class Script:
    """The calls of one operation on the volume `uuid`."""

    uuid: UUID
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, uuid: UUID, calls: Sequence[Call]) -> Self:
        """From a recording."""
        return cls(uuid, tuple(_step(calls, call) for call in calls))

    @classmethod
    def of_changes(cls, uuid: UUID, calls: Sequence[Call]) -> Self:
        """Only what changes something, in the recorded order: nothing is read, known or checked."""
        return cls.of(uuid, [call for call in calls if "_get_" not in call.method and not call.refused])

    def signature(self) -> tuple[tuple[str, str, frozenset[int]], ...]:
        """What makes two recordings the same sequence."""
        return tuple((step.spdk, step.method, step.after) for step in self.steps)


def _step(calls: Sequence[Call], call: Call) -> Step:
    before = {
        index
        for index, other in enumerate(calls)
        if other.answered_at is not None and other.answered_at <= call.sent_at and other is not call
    }
    result = call.result if isinstance(call.result, str) else ""
    return Step(call.spdk, call.method, json.dumps(call.params), frozenset(before), result, call.refused)


class Names:
    """Rewrites the recorded volume's names into another one's, and names that SPDK gave into those it gives now."""

    def __init__(self, to: UUID) -> None:
        self._to = to
        self._learnt: dict[str, str] = {}

    def learn(self, recorded: str, now: str) -> None:
        """A name that SPDK made up (an lvol's bdev)."""
        self._learnt[recorded] = now

    def rewrite(self, of: UUID, params: str) -> Any:
        """The parameters for this volume."""
        for old, new in {**_identities(of, self._to), **self._learnt}.items():
            params = params.replace(old, new)
        return json.loads(params)


def _identities(old: UUID, new: UUID) -> dict[str, str]:
    return {
        str(old): str(new),
        old.hex: new.hex,
        old.hex.upper(): new.hex.upper(),
        naming.serial(old): naming.serial(new),
    }


class Bare:
    """One connection to each SPDK, by name."""

    def __init__(self, sockets: Mapping[str, Path]) -> None:
        self._id = 0
        self._sockets: dict[str, socket.socket] = {}
        self._text = dict.fromkeys(sockets, "")
        self._selector = selectors.DefaultSelector()
        for name, path in sockets.items():
            self._sockets[name] = socket.socket(socket.AF_UNIX)
            self._sockets[name].connect(str(path))
            self._selector.register(self._sockets[name], selectors.EVENT_READ, name)

    def close(self) -> None:
        """Ends the connections."""
        for end in self._sockets.values():
            end.close()
        self._selector.close()

    def run(self, jobs: Sequence[tuple[Script, Names]]) -> float:
        """Runs the scripts side by side; milliseconds until the last answer. An answer of another kind is an error."""
        began = time.perf_counter()
        waiting = {(job, index) for job, (script, _) in enumerate(jobs) for index in range(len(script.steps))}
        done: list[set[int]] = [set() for _ in jobs]
        flight: dict[int, tuple[int, int]] = {}
        while waiting or flight:
            ready = sorted((job, index) for job, index in waiting if jobs[job][0].steps[index].after <= done[job])
            waiting.difference_update(ready)
            self._send(jobs, ready, flight)
            for answer in self._receive():
                job, index = flight.pop(answer["id"])
                _check(jobs[job], index, answer)
                done[job].add(index)
        return (time.perf_counter() - began) * 1e3

    def _send(
        self, jobs: Sequence[tuple[Script, Names]], ready: list[tuple[int, int]], flight: dict[int, tuple[int, int]]
    ) -> None:
        out: dict[str, list[bytes]] = {}
        for job, index in ready:
            script, names = jobs[job]
            step = script.steps[index]
            self._id += 1
            flight[self._id] = (job, index)
            request = {"jsonrpc": "2.0", "id": self._id, "method": step.method}
            params = names.rewrite(script.uuid, step.params)
            if params:
                request["params"] = params
            out.setdefault(step.spdk, []).append(json.dumps(request).encode())
        for name, frames in out.items():
            self._sockets[name].sendall(b"".join(frames))

    def _receive(self) -> list[dict[str, Any]]:
        events = self._selector.select(PATIENCE_S)
        if not events:
            raise TimeoutError(f"no answer within {PATIENCE_S:.0f} s")
        answers: list[dict[str, Any]] = []
        for key, _ in events:
            data = self._sockets[key.data].recv(1 << 20)
            if not data:
                raise ConnectionError(f"{key.data} has closed the connection")
            self._text[key.data] += data.decode()
            answers += self._complete(key.data)
        return answers

    def _complete(self, name: str) -> list[dict[str, Any]]:
        answers = []
        decoder = json.JSONDecoder()
        text = self._text[name].lstrip()
        while text:
            try:
                answer, end = decoder.raw_decode(text)
            except ValueError:  # the rest of it is on its way
                break
            answers.append(answer)
            text = text[end:].lstrip()
        self._text[name] = text
        return answers


def _check(job: tuple[Script, Names], index: int, answer: dict[str, Any]) -> None:
    script, names = job
    step = script.steps[index]
    if ("error" in answer) != step.refused:
        raise RuntimeError(
            f"{step.method} by hand: {answer.get('error', 'accepted')}, recorded otherwise: no comparison"
        )
    if step.result and isinstance(answer.get("result"), str):
        names.learn(step.result, answer["result"])
