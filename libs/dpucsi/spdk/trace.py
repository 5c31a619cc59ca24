"""What a piece of work costs: its calls, and how many rounds they took one after the other.

SPDK looks at its socket about every 4 ms, so the floor of an operation's time is its number of dependent rounds. A
round starts with a request that was sent after an answer had come in since the last round started: it may depend on it.
"""

import time
from dataclasses import dataclass, field

from dpucsi.spdk.jsonrpc import Params


@dataclass
class TracedCall:
    """One call: `round` counts from 1; `ms` from sending to the answer, None while there is none."""

    spdk: str
    method: str
    params: Params = field(repr=False)  # they may name keys
    round: int
    ms: float | None = None
    refused: bool = False
    sent_at: float = field(default_factory=time.perf_counter, repr=False)


@dataclass
class Trace:
    """Hang one on `SpdkClient.trace` to record; one trace may hang on several clients."""

    calls: list[TracedCall] = field(default_factory=list)
    rounds: int = 0
    _answered: bool = True

    def sent(self, spdk: str, method: str, params: Params) -> TracedCall:
        """Called for each request just before it is sent."""
        if self._answered:
            self.rounds += 1
            self._answered = False
        call = TracedCall(spdk, method, params, self.rounds)
        self.calls.append(call)
        return call

    def answered(self, call: TracedCall, *, refused: bool) -> None:
        """Called for each answer, also for one that nobody waits for any more."""
        call.ms = (time.perf_counter() - call.sent_at) * 1000
        call.refused = refused
        self._answered = True
