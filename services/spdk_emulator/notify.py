"""What happened to bdevs, as notify_get_notifications tells it."""

from collections import deque

from spdk_emulator.rpc.params import Json

EVENTS_MAX = 1024  # SPDK_NOTIFY_MAX_EVENTS: older ones are forgotten
TYPES = ("fsdev_register", "fsdev_unregister", "bdev_register", "bdev_unregister", "bdev_resize")


class Notifications:
    """Events with ids that count up from 0."""

    def __init__(self) -> None:
        self._events: deque[Json] = deque(maxlen=EVENTS_MAX)
        self._next_id = 0

    def add(self, event_type: str, ctx: str) -> None:
        """`ctx` is the name of the bdev."""
        self._events.append({"type": event_type, "ctx": ctx, "id": self._next_id})
        self._next_id += 1

    def since(self, first_id: int, count: int) -> list[Json]:
        """At most `count` of the remembered events from `first_id` on."""
        oldest = self._next_id - len(self._events)
        start = max(first_id - oldest, 0)
        return [*self._events][start : start + count]
