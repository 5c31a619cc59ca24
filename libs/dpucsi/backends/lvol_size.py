"""How large an lvol is made, and whether thin: decided without I/O from what is asked and what the store is."""

import math
from collections.abc import Mapping

from dpucsi.backends.contract import SizeRange
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
    volume that does not fit now.
    """
    step = math.lcm(store.cluster_size, MIB)
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
            f"{size} bytes are more than lvol store {store.name} could ever hold ({store.size_bytes}); ask for less"
        )
    if not thin and size > store.free_bytes:
        raise ResourceExhaustedError(
            f"{size} bytes are more than the {store.free_bytes} bytes that are free in lvol store {store.name}; "
            "free some, or take thin volumes"
        )
    return size


def _up(size: int, step: int) -> int:
    return -(-size // step) * step
