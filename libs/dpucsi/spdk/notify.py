"""notify_*: what happened to bdevs, cheaper than reading them all again and again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from dpucsi.spdk.answers import Caller, Fields, each, given

KEPT = 1024  # events that SPDK remembers (SPDK_NOTIFY_MAX_EVENTS); older ones are gone


@dataclass(frozen=True)
class Notification:
    """One event: `type` bdev_register, bdev_unregister or bdev_resize, `ctx` the bdev's name. Ids go up from 0."""

    id: int
    type: str
    ctx: str


async def notify_get_notifications(
    client: Caller, *, first_id: int, max_count: int | None = None
) -> tuple[Notification, ...]:
    """The events from `first_id` on that SPDK still remembers, oldest first. Returns at once."""
    params = given(id=first_id, max=max_count)
    return each("notify_get_notifications", await client.call("notify_get_notifications", params), _notification)


async def notifications(client: Caller, *, first_id: int = 0, every_s: float = 0.25) -> AsyncIterator[Notification]:
    """Every event from `first_id` on, for as long as the caller iterates; one read per `every_s` seconds.

    Where the next id is not the last one plus one, SPDK has forgotten some: read the state. A new SPDK instance counts
    from 0 again, so start again with it (`SpdkClient.new_instance`).
    """
    while True:
        seen = await notify_get_notifications(client, first_id=first_id)
        for notification in seen:
            first_id = notification.id + 1
            yield notification
        await asyncio.sleep(every_s)


def _notification(event: Fields) -> Notification:
    return Notification(event.number("id"), event.text("type"), event.text("ctx"))
