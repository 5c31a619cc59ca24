"""The rules in force, how often each acted, and what is kept waiting by them."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from spdk_emulator.faults.rules import CallRule, CutRule, IoRule, Rule, read_rules
from spdk_emulator.nvmf.address import Address
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Armed:
    """A rule in force. `seen` counts what it was meant for, `hits` what it acted on."""

    written: Json
    rule: Rule
    seen: int = 0
    hits: int = 0
    _waiting: dict[asyncio.Event, object] = field(default_factory=dict)

    def is_due(self, nth: int) -> bool:
        """Counts one more of what it is meant for; whether it is to act on this one."""
        self.seen += 1
        return nth in (0, self.seen)

    async def wait_for_release(self, whose: object = None) -> None:
        """Until the rule is taken away, or `let_go` is called for `whose`."""
        released = asyncio.Event()
        self._waiting[released] = whose
        try:
            await released.wait()
        finally:
            del self._waiting[released]

    def let_go(self, whose: object = None) -> None:
        """Lets all that is kept waiting go on, or what waits for `whose`."""
        for released, owner in self._waiting.items():
            if whose is None or owner is whose:
                released.set()

    def describe(self) -> Json:
        """As written, with its hits."""
        assert isinstance(self.written, dict)
        return {**self.written, "hits": self.hits}


class Faults:
    """One set of rules at a time. `on_change` is called whenever another set is in force."""

    def __init__(self) -> None:
        self._armed: list[Armed] = []
        self.on_change: list[Callable[[], None]] = []

    def set(self, params: Json) -> Json:
        """What emulator_set_faults does and answers. A rule that stays in the set goes on as if nothing happened."""
        wanted = read_rules(params)
        if wanted is not None:
            self._replace(wanted)
        return {"rules": [armed.describe() for armed in self._armed]}

    def is_cut(self, kind: str, address: Address) -> bool:
        """Whether a "listener" of the target or a "path" of the initiator is dead; each yes is a hit of its rule."""
        for armed in self._armed:
            rule = armed.rule
            if not isinstance(rule, CutRule) or rule.kind != kind:
                continue
            if rule.traddr in ("", address.traddr) and rule.trsvcid in ("", address.trsvcid):
                armed.hits += 1
                return True
        return False

    def of_calls(self) -> Iterator[tuple[Armed, CallRule]]:
        """The rules about JSON-RPC calls."""
        return ((armed, armed.rule) for armed in list(self._armed) if isinstance(armed.rule, CallRule))

    def of_io(self) -> Iterator[tuple[Armed, IoRule]]:
        """The rules about bdevs."""
        return ((armed, armed.rule) for armed in list(self._armed) if isinstance(armed.rule, IoRule))

    def _replace(self, wanted: list[tuple[Json, Any]]) -> None:
        left = list(self._armed)
        self._armed = []
        for written, rule in wanted:
            same = next((armed for armed in left if armed.rule == rule), None)
            if same is not None:
                left.remove(same)
            self._armed.append(same or Armed(written, rule))
        log.warning("faults set", rules=[armed.written for armed in self._armed])
        for gone in left:
            gone.let_go()
        for listener in list(self.on_change):
            listener()
