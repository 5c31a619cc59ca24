"""What a rule looks like, read from JSON with an error that names the member that is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from spdk_emulator.rpc.errors import INVALID_PARAMS, RpcError
from spdk_emulator.rpc.params import Json

When: TypeAlias = Literal["before", "after"]
OPERATIONS = ("read", "write", "flush", "unmap", "write_zeroes")
MEDIA = ("read", "write", "write_zeroes")
ANY_METHOD = "*"
# When an action comes where nobody said it: a refused call has no effect, an answer that is lost had one.
CALL_ACTIONS: dict[str, When] = {
    **dict.fromkeys(("fail", "delay"), "before"),
    **dict.fromkeys(("drop", "hold", "crash"), "after"),
}
IO_ACTIONS = ("stall", "delay", "media_error")
CUTS = ("listener", "path")
SECONDS_MAX = 86_400


@dataclass(frozen=True)
class CallRule:
    """Something happens to calls of `method`, to the `nth` one from now on or to every one (0)."""

    method: str
    action: str
    when: When
    nth: int = 0
    seconds: float = 0.0
    code: int = 0
    message: str = ""


@dataclass(frozen=True)
class IoRule:
    """Something happens to operations on a bdev. `num_blocks` 0: wherever they are."""

    bdev: str
    action: str
    operations: tuple[str, ...]
    nth: int = 0
    seconds: float = 0.0
    first_lba: int = 0
    num_blocks: int = 0

    def touches(self, offset: int, length: int, block_size: int) -> bool:
        """Whether an operation on these bytes is meant."""
        first, stop = self.first_lba * block_size, (self.first_lba + self.num_blocks) * block_size
        return not self.num_blocks or (offset < stop and offset + length > first)


@dataclass(frozen=True)
class CutRule:
    """A TCP listener of the target, or a path of the initiator, is dead. "" is any address or port."""

    kind: str
    traddr: str
    trsvcid: str


Rule: TypeAlias = CallRule | IoRule | CutRule


def read_rules(params: Json) -> list[tuple[Json, Rule]] | None:
    """The members of `params` as written and as rules; None: there are none to set. Raises RpcError (-32602)."""
    given = _object(params if params is not None else {}, "the parameters")
    _check_members(given, "the parameters", {"rules"})
    if "rules" not in given:
        return None
    rules = given["rules"]
    if not isinstance(rules, list):
        raise _wrong("rules", "a list of objects")
    return [(rule, _read(rule, f"rules[{place}]")) for place, rule in enumerate(rules)]


def _read(rule: Json, where: str) -> Rule:
    members = _Members(_object(rule, where), where)
    action = members.word("action", (*CALL_ACTIONS, *IO_ACTIONS, "cut"))
    if action == "cut":
        return members.done(
            CutRule(members.word("kind", CUTS), members.text("traddr", ""), members.text("trsvcid", ""))
        )
    if members.has("method") == members.has("bdev"):
        raise _wrong(f"{where}.method", "there, or bdev, and not both")
    return members.done(_call_rule(members, action) if members.has("method") else _io_rule(members, action))


def _call_rule(members: "_Members", action: str) -> CallRule:
    members.word("action", tuple(CALL_ACTIONS))
    when: Any = members.word("when", ("before", "after"), CALL_ACTIONS[action])
    fails = action == "fail"
    return CallRule(
        method=members.text("method"),
        action=action,
        when=when,
        nth=members.number("nth", 1, 0),
        seconds=members.seconds() if action == "delay" else 0.0,
        code=members.number("code") if fails else 0,
        message=members.text("message") if fails else "",
    )


def _io_rule(members: "_Members", action: str) -> IoRule:
    members.word("action", IO_ACTIONS)
    return IoRule(
        bdev=members.text("bdev"),
        action=action,
        operations=members.words("operations", OPERATIONS, MEDIA if action == "media_error" else OPERATIONS),
        nth=members.number("nth", 1, 0),
        seconds=members.seconds() if action == "delay" else 0.0,
        first_lba=members.number("first_lba", 0, 0),
        num_blocks=members.number("num_blocks", 1, None if members.has("first_lba") else 0),
    )


class _Members:
    """The members of one rule; each is read by its name, and what nobody read is refused."""

    def __init__(self, given: Mapping[str, Json], where: str) -> None:
        self._given = given
        self._where = where
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether it was written."""
        return name in self._given

    def done(self, rule: Rule) -> Rule:
        """The rule, if all members were read."""
        _check_members(self._given, self._where, self._read)
        return rule

    def text(self, name: str, default: str | None = None) -> str:
        """A text that is not empty."""
        found: str = self._one(name, "a text", lambda value: isinstance(value, str) and value != "", default)
        return found

    def word(self, name: str, words: tuple[str, ...], default: str | None = None) -> str:
        """One of a closed list."""
        found: str = self._one(name, f"one of {', '.join(words)}", lambda value: value in words, default)
        return found

    def words(self, name: str, words: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
        """Some of a closed list."""
        found: Any = self._one(
            name,
            f"a list of {', '.join(words)}",
            lambda value: isinstance(value, list) and bool(value) and all(word in words for word in value),
            default,
        )
        return tuple(found)

    def number(self, name: str, least: int | None = None, default: int | None = None) -> int:
        """A whole number."""

        def fits(value: Json) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)

        wanted = "a whole number" if least is None else f"a whole number of at least {least}"
        number: int = self._one(name, wanted, fits, default)
        return number

    def seconds(self) -> float:
        """How long."""

        def fits(value: Json) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= SECONDS_MAX

        return float(self._one("seconds", f"a number from 0 to {SECONDS_MAX}", fits, None))

    def _one(self, name: str, wanted: str, fits: Callable[[Json], bool], default: Any) -> Any:
        self._read.add(name)
        if name not in self._given and default is not None:
            return default
        value = self._given.get(name)
        if name not in self._given or not fits(value):
            raise _wrong(f"{self._where}.{name}", wanted)
        return value


def _object(value: Json, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object")
    return value


def _check_members(given: Mapping[str, Json], where: str, known: set[str]) -> None:
    unknown = sorted(given.keys() - known)
    if unknown:
        raise RpcError(INVALID_PARAMS, f"{where}.{unknown[0]} is not known here; known: {', '.join(sorted(known))}")


def _wrong(member: str, wanted: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"{member} must be {wanted}")
