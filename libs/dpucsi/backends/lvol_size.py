"""How large an lvol is made, and whether thin: decided without I/O from what is asked and what the store is."""

import math
from collections.abc import Mapping

from dpucsi.backends.contract import Capacity, SizeRange
from dpucsi.errors import InvalidArgumentError, OutOfRangeError, ResourceExhaustedError
from dpucsi.spdk.lvol import Lvstore

MIB = 1024 * 1024
DEFAULT_BYTES = 1024 * MIB  # where the CO asks for no size at all
MINIMUM_BYTES = 4 * MIB  # SPDK would make an lvol of size 0; below a few MiB no file system of ours fits
PARAMETERS = {
    "thin": '"true" (default): space is taken when it is written; "false": all of it when the volume is made',
}


def is_thin(parameters: Mapping[str, str]) -> bool:
    """Raises InvalidArgumentError for a parameter that is not ours, or not true or false."""
    unknown = sorted(parameters.keys() - PARAMETERS.keys())
    if unknown:
        raise InvalidArgumentError(f"parameter {unknown[0]!r} is unknown; known are {', '.join(PARAMETERS)}")
    text = parameters.get("thin", "true")
    if text not in ("true", "false"):
        raise InvalidArgumentError(f'parameter thin is {text[:40]!r}, wanted "true" or "false"')
    return text == "true"


def lvol_size(asked: SizeRange, store: Lvstore, *, thin: bool) -> int:
    """Bytes: whole clusters and whole MiB, as SPDK takes its sizes in MiB and rounds up to clusters.

    Raises OutOfRangeError where no such size lies in the range or in the store, ResourceExhaustedError for a thick
    volume that does not fit now, and for a thin one in a store that is full: its first write would fail.
    """
    step = _step(store)
    least = _up(max(asked.required_bytes, MINIMUM_BYTES), step)
    if asked.required_bytes:
        size = least
    elif asked.limit_bytes:
        size = max(least, min(_up(DEFAULT_BYTES, step), asked.limit_bytes // step * step))
    else:
        size = max(least, min(_up(DEFAULT_BYTES, step), store.size_bytes // step * step))
    if size not in asked:
        raise OutOfRangeError(
            f"no size between {asked.required_bytes} and {asked.limit_bytes} bytes is possible: sizes are multiples of "
            f"{step} and at least {_up(MINIMUM_BYTES, step)} bytes in lvol store {store.name}; raise the limit"
        )
    if size > store.size_bytes:
        raise OutOfRangeError(
            f"a volume of {shown(size)} is larger than the whole lvol store {store.name}, which has "
            f"{shown(store.size_bytes)}; ask for less, or take another storage backend"
        )
    if size > (_room(store) if thin else store.free_bytes):
        raise no_room(size, store, thin=thin)
    return size


def lvol_capacity(store: Lvstore, *, thin: bool) -> Capacity:
    """What `lvol_size` would say yes to. A thin volume takes space when it is written, so it may be promised more."""
    step = _step(store)
    largest = (_room(store) if thin else store.free_bytes) // step * step
    least = _up(MINIMUM_BYTES, step)
    return Capacity(store.free_bytes, largest if largest >= least else None, least)


def no_room(size: int, store: Lvstore, *, thin: bool) -> ResourceExhaustedError:
    """What is said about `size` bytes that do not fit now."""
    advice = "free some, or give the store a larger disk" if thin else "free some, or take thin volumes"
    return ResourceExhaustedError(
        f"a volume of {shown(size)} does not fit into lvol store {store.name}: {shown(store.free_bytes)} of its "
        f"{shown(store.size_bytes)} are free; {advice}"
    )


def shown(size: int) -> str:
    """A size for people, and exactly: "1.5 GiB (1610612736 bytes)"."""
    for unit, name in ((1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (MIB, "MiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name} ({size} bytes)"
    return f"{size} bytes"


def _room(store: Lvstore) -> int:
    """The most that a thin volume may promise: the whole store, as long as there is anything to write to."""
    return store.size_bytes if store.free_clusters else 0


def _step(store: Lvstore) -> int:
    return math.lcm(store.cluster_size, MIB)


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
