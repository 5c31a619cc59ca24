"""What a function of the card does next, and what becomes of each of its disks. Pure."""

from dataclasses import dataclass
from enum import Enum, auto


class Step(Enum):
    """The next thing to do for a function."""

    REST = auto()
    CONNECT = auto()
    SHOW = auto()  # makes the Host see what the controller offers
    RESET = auto()  # ends the session and begins another
    WITHDRAW = auto()  # ends the session and takes everything from the Host


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A function now. `is_cut`: its listener was taken away under a live controller."""

    has_socket: bool = False
    has_session: bool = False
    is_shown: bool = False
    is_cut: bool = False
    is_unplugged: bool = False
    is_reset: bool = False
    is_overdue: bool = False


def plan(seen: Seen) -> Step:
    """Level-triggered: whatever happened, only what is counts."""
    if seen.is_cut or seen.is_unplugged:
        return Step.WITHDRAW if seen.has_session or seen.is_shown else Step.REST
    if seen.has_session:
        return Step.RESET if seen.is_reset else Step.SHOW
    if seen.is_shown and seen.is_overdue:
        return Step.WITHDRAW
    return Step.CONNECT if seen.has_socket else Step.REST


class Fate(Enum):
    """What becomes of a disk while its function has a session."""

    KEEP = auto()
    WAIT = auto()
    WITHDRAW = auto()


def fate(*, is_waiting: bool, is_listed: bool, is_same: bool, is_overdue: bool) -> Fate:
    """`is_listed`: the controller has a namespace at its nsid; `is_same`: and it is this one.

    A namespace that leaves a live controller is gone. After a controller came back its namespaces may be late.
    """
    if is_listed:
        return Fate.KEEP if is_same else Fate.WITHDRAW
    if is_waiting and not is_overdue:
        return Fate.WAIT
    return Fate.WITHDRAW


def give_up_at(
    *, lost_at: float, missing_since: float | None, served_at: float | None, recovery_s: float
) -> float | None:
    """When the devices of a lost controller are given up; None: not yet to be said.

    A dead SPDK leaves its socket behind and is waited for, however long it takes. It is back, without this function,
    once another function was served after the loss (`served_at`), or somebody took the dead socket away.
    """
    signs = [sign for sign in (missing_since, served_at) if sign is not None and sign >= lost_at]
    return min(signs) + recovery_s if signs else None
