"""Addresses of NVMe-oF targets as people write them in a file: tcp://10.0.0.1:4420, rdma://[fd00::1]:4420."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from dpucsi.errors import InvalidArgumentError
from dpucsi.model import TargetPath


def parse_listeners(texts: Iterable[str]) -> tuple[TargetPath, ...]:
    """At least one address, none twice, all of one transport, because a publish_context has one."""
    paths = tuple(_parse(text) for text in texts)
    if not paths or len(set(paths)) != len(paths):
        raise InvalidArgumentError("give at least one address, and none twice")
    if len({path.trtype for path in paths}) > 1:
        raise InvalidArgumentError("tcp:// and rdma:// do not mix; make two storage backends of it")
    return paths


def _parse(text: str) -> TargetPath:
    try:
        parts = urlsplit(text)
        address, port = ipaddress.ip_address(parts.hostname or ""), parts.port
    except ValueError as wrong:
        raise _malformed(text) from wrong
    beyond = parts.path or parts.query or parts.fragment or parts.username is not None
    if parts.scheme not in ("tcp", "rdma") or not port or beyond:
        raise _malformed(text)
    if address.is_unspecified or address.is_multicast:
        raise InvalidArgumentError(
            f"{text!r} is not an address that a DPU can connect to; name one of the storage node"
        )
    return TargetPath(str(address), str(port), parts.scheme.upper(), f"IPv{address.version}")


def _malformed(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{text!r} is not of the form tcp://<IP address>:<port> or rdma://<IP address>:<port>")
