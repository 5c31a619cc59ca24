"""A channel whose certificates are renewed: it is replaced when its files were, between two calls."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from dpucsi.rpc.tls import Pem, WatchedFiles

GRACE_S = 60.0  # that calls over the former channel get to end

Open = Callable[[Pem], grpc.aio.Channel]


class RenewingChannel(grpc.aio.Channel):
    """Looks at the files at each call; one that has begun stays on the channel that it began on."""

    def __init__(self, files: WatchedFiles, open_channel: Open) -> None:
        self._files = files
        self._open = open_channel
        self._inner = open_channel(files.pem)
        self._closing: set[asyncio.Task[None]] = set()

    def _current(self) -> grpc.aio.Channel:
        pem = self._files.renewed()
        if pem is not None:
            closing = asyncio.ensure_future(self._inner.close(GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._inner = self._open(pem)
        return self._inner

    def _late(self, kind: str, how: tuple[Any, ...], more: dict[str, Any]) -> Any:
        """A callable over whatever channel is the current one when it is called."""
        made: tuple[grpc.aio.Channel, Any] | None = None

        def invoke(*args: Any, **options: Any) -> Any:
            nonlocal made
            channel = self._current()
            if made is None or made[0] is not channel:
                made = channel, getattr(channel, kind)(*how, **more)
            return made[1](*args, **options)

        return invoke

    def unary_unary(self, *how: Any, **more: Any) -> Any:
        """As its base class says."""
        return self._late("unary_unary", how, more)

    def unary_stream(self, *how: Any, **more: Any) -> Any:
        """As its base class says."""
        return self._late("unary_stream", how, more)

    def stream_unary(self, *how: Any, **more: Any) -> Any:
        """As its base class says."""
        return self._late("stream_unary", how, more)

    def stream_stream(self, *how: Any, **more: Any) -> Any:
        """As its base class says."""
        return self._late("stream_stream", how, more)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the current channel."""
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns too when the channel is replaced and the former one closed: look again."""
        watched = self._inner
        try:
            await watched.wait_for_state_change(last_observed_state)
        except grpc.aio.UsageError:  # it was closed
            if watched is self._inner:
                raise

    async def channel_ready(self) -> None:
        """Of the current channel."""
        await self._current().channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Closes it, and what it was before."""
        for former in self._closing:
            former.cancel()
        await self._inner.close(grace)

    async def __aenter__(self) -> "RenewingChannel":
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()
