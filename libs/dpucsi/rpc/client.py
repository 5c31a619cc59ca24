"""Calling another service: one channel that reconnects by itself, deadlines and errors in our own words."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from dpucsi.aio import remaining
from dpucsi.rpc.context import REQUEST_ID, current_request_id
from dpucsi.rpc.endpoint import Endpoint
from dpucsi.rpc.renewing import RenewingChannel
from dpucsi.rpc.status import error_of
from dpucsi.rpc.tls import Pem, TlsFiles, WatchedFiles, channel_credentials

DEFAULT_TIMEOUT_S = 30.0
ResponseT = TypeVar("ResponseT")

# A restarted far side is found again within a second, not after gRPC's own two minutes of backoff. The "minimum" is
# what one try gets to connect, with its TLS handshake (gRPC, connection-backoff.md): a busy DPU needs its time.
# A new channel connects at once: gRPC would have it share another one's connection to that address, or its pause.
RECONNECT = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.enable_http_proxy", 0),
]


def channel(endpoint: Endpoint, tls: TlsFiles | None = None, *, server_name: str = "") -> grpc.aio.Channel:
    """A lasting channel, on renewed files from the next call on; TCP without `tls` is plain text, which only labs do.

    `server_name`: the name that the far side's certificate must have, where it is not the host of `endpoint`.
    """
    named = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    if endpoint.path or tls is None:
        return grpc.aio.insecure_channel(endpoint.target, options=RECONNECT)

    def open_channel(pem: Pem) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(endpoint.target, channel_credentials(pem), options=[*RECONNECT, *named])

    return RenewingChannel(WatchedFiles(tls), open_channel)


async def call(
    far_side: str,
    method: Callable[..., Awaitable[ResponseT]],
    request: Message,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> ResponseT:
    """One unary call within the operation's deadline; errors come back as `dpucsi.errors`, named after `far_side`."""
    metadata = ((REQUEST_ID, current_request_id()),)
    try:
        return await method(request, timeout=remaining(timeout_s), metadata=metadata)
    except grpc.aio.AioRpcError as failed:
        raise error_of(far_side, failed) from failed
