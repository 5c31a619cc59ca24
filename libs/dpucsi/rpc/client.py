"""Calling another service: one channel that reconnects by itself, deadlines and errors in our own words."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from dpucsi.aio import remaining
from dpucsi.rpc.context import REQUEST_ID, current_request_id
from dpucsi.rpc.endpoint import Endpoint
from dpucsi.rpc.status import error_of
from dpucsi.rpc.tls import TlsFiles

DEFAULT_TIMEOUT_S = 30.0
ResponseT = TypeVar("ResponseT")

# A restarted far side is found again within a second, not after gRPC's own two minutes of backoff.
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.enable_http_proxy", 0),
]


def channel(endpoint: Endpoint, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """A lasting channel; TCP without `tls` is plain text, which only labs do."""
    if endpoint.path or tls is None:
        return grpc.aio.insecure_channel(endpoint.target, options=RECONNECT)
    return grpc.aio.secure_channel(endpoint.target, tls.channel_credentials(), options=RECONNECT)


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
