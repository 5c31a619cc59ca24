"""The kernel's announcements of devices that come and go, as a wake-up; what happened is read from the tree."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

NETLINK_KOBJECT_UEVENT = 15  # linux/netlink.h
KERNEL_GROUP = 1  # messages of the kernel itself, before udev has dealt with them


class Uevents:
    """An open netlink socket. `next` returns at the next message, or after `timeout_s`."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._came = asyncio.Event()

    def drain(self) -> None:
        """Takes everything that came, until there is no more (EAGAIN) or too much came (ENOBUFS), which is news too."""
        with contextlib.suppress(OSError):
            while True:
                self._listener.recv(65536)
        self._came.set()

    async def next(self, timeout_s: float) -> None:
        """A message that came since the last call counts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._came.wait()
        self._came.clear()


@contextlib.contextmanager
def listen() -> Iterator[Uevents | None]:
    """None where this process may not listen, as in some containers: looking alone is enough then, only slower."""
    try:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)
    except OSError:
        yield None
        return
    with listener:
        try:
            listener.bind((0, KERNEL_GROUP))
        except OSError:
            yield None
            return
        loop = asyncio.get_running_loop()
        uevents = Uevents(listener)
        loop.add_reader(listener, uevents.drain)
        try:
            yield uevents
        finally:
            loop.remove_reader(listener)
