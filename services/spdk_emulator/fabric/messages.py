"""What the two ends say: the host connects, the target accepts or refuses, then tells every change of namespaces."""

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class NamespaceInfo:
    """One namespace. `path` is where its bytes are: both ends run on one machine."""

    nsid: int
    uuid: str
    nguid: str
    block_size: int
    num_blocks: int
    path: str
    is_read_only: bool


@dataclass(frozen=True)
class Connect:
    """Host to target, first message."""

    subnqn: str
    hostnqn: str
    hostid: str


@dataclass(frozen=True)
class Accepted:
    """Target to host: the session stands."""

    cntlid: int
    serial_number: str
    model_number: str
    ana_reporting: bool
    namespaces: list[NamespaceInfo]


@dataclass(frozen=True)
class Refused:
    """Target to host, last message."""

    reason: str


@dataclass(frozen=True)
class Changed:
    """Target to host: all namespaces as they are now."""

    namespaces: list[NamespaceInfo]


class RefusedError(Exception):
    """The target does not let this host in."""


Message: TypeAlias = "Connect | Accepted | Refused | Changed"
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Connect, Accepted, Refused, Changed)}


def to_json(message: Message) -> dict[str, Any]:
    """As it is written on the wire."""
    return {"kind": type(message).__name__, **asdict(message)}


def from_json(value: Any) -> Message:
    """The opposite; raises ValueError for anything else."""
    try:
        members = dict(value)
        kind = _KINDS[members.pop("kind")]
        if "namespaces" in members:
            members["namespaces"] = [NamespaceInfo(**entry) for entry in members["namespaces"]]
        message: Message = kind(**members)
    except (TypeError, KeyError, ValueError) as wrong:
        raise ValueError(f"not a message: {str(value)[:80]}") from wrong
    return message
