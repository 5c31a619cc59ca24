"""Where an SPDK listens for JSON-RPC: `unix:///path`, `tcp://host:port` or `tls://host:port`."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from dpucsi.errors import InvalidArgumentError

KEEPALIVE_S = 5  # a dead peer is noticed after four of them

ProtocolT = TypeVar("ProtocolT", bound=asyncio.Protocol)


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for `tls://`: who signs the far side, and who we are. Read at each connect, so they can be renewed."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A client context that proves both sides. Raises OSError (ssl.SSLError is one) for files of no use."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        return context


@dataclass(frozen=True)
class Endpoint:
    """One parsed endpoint. `path` for unix, `host` and `port` for tcp and tls; `tls` for tls only."""

    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        return (
            f"{self.scheme}://[{self.host}]:{self.port}"
            if ":" in self.host
            else f"{self.scheme}://{self.host}:{self.port}"
        )

    @classmethod
    def parse(cls, text: str, tls: TlsFiles | None = None) -> "Endpoint":
        """Raises InvalidArgumentError."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise _malformed(text) from error
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            return cls("unix", path=parts.path)
        if parts.scheme not in ("tcp", "tls") or not host or not port or parts.path or parts.username is not None:
            raise _malformed(text)
        if (parts.scheme == "tls") != (tls is not None):
            raise InvalidArgumentError(
                f"SPDK endpoint {text!r}: certificate files belong to tls://, and tls:// needs them"
            )
        return cls(parts.scheme, host=host, port=port, tls=tls)

    async def open(self, protocol: Callable[[], ProtocolT]) -> ProtocolT:
        """A connected `protocol`. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self.scheme == "unix":
            _, opened = await loop.create_unix_connection(protocol, self.path)
            return opened
        context = self.tls.context() if self.tls else None
        transport, opened = await loop.create_connection(protocol, self.host, self.port, ssl=context)
        _notice_a_dead_peer(transport.get_extra_info("socket"))
        return opened


def _notice_a_dead_peer(connected: socket.socket) -> None:
    """A machine that is gone says no goodbye: without this a silent connection would look well for ever."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, KEEPALIVE_S * 4 * 1000)  # ms, unacknowledged data


def _malformed(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"SPDK endpoint {text!r} is not of the form unix:///path, tcp://host:port or tls://host:port"
    )
