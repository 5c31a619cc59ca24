"""notify_*: events about bdevs."""

import errno
import os

from spdk_emulator.emulator import Emulator
from spdk_emulator.notify import EVENTS_MAX, TYPES
from spdk_emulator.rpc.errors import INVALID_PARAMS, RpcError
from spdk_emulator.rpc.params import Json, may, takes, u64
from spdk_emulator.rpc.table import method


@method("notify_get_types")
def notify_get_types(_: Emulator) -> Json:
    """What can happen."""
    return list(TYPES)


@method(
    "notify_get_notifications",
    takes(id=may(u64, 0), max=may(u64, EVENTS_MAX)),
    mismatch=RpcError(INVALID_PARAMS, os.strerror(errno.EINVAL)),
)
def notify_get_notifications(emulator: Emulator, **params: int) -> Json:
    """What happened from `id` on, `max` events at most."""
    return emulator.notifications.since(params["id"], params["max"])
