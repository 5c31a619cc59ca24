"""The host's end of one session."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias, cast

from spdk_emulator.fabric.frames import FrameReader, encode
from spdk_emulator.fabric.messages import Accepted, Changed, Connect, Message, NamespaceInfo, Refused, RefusedError

OnChange: TypeAlias = Callable[[list[NamespaceInfo]], None]
OnLost: TypeAlias = Callable[[], None]


class HostSession(asyncio.Protocol):
    """One TCP connection. `accepted` is what the target said; `on_lost` is called once, unless we close it."""

    def __init__(self, connect: Connect, on_change: OnChange, on_lost: OnLost) -> None:
        self._connect = connect
        self._on_change = on_change
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._is_ours_to_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(encode(self._connect))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            for message in self._reader.feed(data):
                self._hear(message)
        except ValueError:
            self._fail(ConnectionError("the target talks nonsense"))
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        was_up = self._answer.done() and not self._answer.cancelled() and self._answer.exception() is None
        self._fail(ConnectionError("the target closed the connection"))
        if was_up and not self._is_ours_to_close:
            self._on_lost()

    async def accepted(self) -> Accepted:
        """Waits for the target's word; raises RefusedError or ConnectionError."""
        return await self._answer

    def close(self) -> None:
        """Disconnects."""
        self._is_ours_to_close = True
        if self._transport is not None:
            self._transport.close()

    def _hear(self, message: Message) -> None:
        if isinstance(message, Accepted) and not self._answer.done():
            self._answer.set_result(message)
        elif isinstance(message, Refused):
            self._fail(RefusedError(message.reason))
        elif isinstance(message, Changed) and self._answer.done():
            self._on_change(message.namespaces)
        else:
            raise ValueError(f"{type(message).__name__} out of order")

    def _fail(self, error: Exception) -> None:
        if self._is_ours_to_close:
            self._answer.cancel()  # nobody waits for it any more
        elif not self._answer.done():
            self._answer.set_exception(error)


async def open_session(
    address: tuple[str, int],
    local: tuple[str, int] | None,
    connect: Connect,
    *,
    on_change: OnChange,
    on_lost: OnLost,
    timeout_s: float,
) -> tuple[HostSession, Accepted]:
    """Connects; raises OSError (ConnectionError, TimeoutError) or RefusedError."""
    loop = asyncio.get_running_loop()
    session: HostSession | None = None
    try:
        async with asyncio.timeout(timeout_s):
            _, session = await loop.create_connection(
                lambda: HostSession(connect, on_change, on_lost), *address, local_addr=local
            )
            return session, await session.accepted()
    except BaseException:
        if session is not None:
            session.close()
        raise
