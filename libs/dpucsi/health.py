"""The console script `dpucsi-health`: asks one service whether it serves (grpc.health.v1), for exec probes.

A probe runs every few seconds beside services that shall use no CPU, so it costs little: importing grpc alone takes
three times the CPU of this whole program. It speaks just enough HTTP/2 (RFC 9113) and HPACK (RFC 7541) for one unary
call, whose answer is one DATA frame; everything else that a server may send is passed over.
"""

import argparse
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CHECK = "/grpc.health.v1.Health/Check"
STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}  # HealthCheckResponse.ServingStatus
SERVING = 1
SERVICE_MAX = 100  # bytes; no name of a service of ours is longer, and lengths up to 126 take one byte everywhere

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
END_STREAM, END_HEADERS = 0x1, 0x4
FRAME_HEADER = 9  # bytes
STREAM = 1

Read = Callable[[int], bytes]


class NotServingError(Exception):
    """Why the probe failed, as one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 when it serves, 1 with a sentence when not, 2 for wrong options."""
    options = _options(argv)
    try:
        check(
            options.endpoint,
            options.service,
            tls=(options.tls_ca, options.tls_cert, options.tls_key),
            timeout_s=options.timeout,
        )
    except NotServingError as why:
        sys.stderr.write(f"{options.endpoint}: {why}\n")
        return 1
    return 0


def check(endpoint: str, service: str, *, tls: tuple[Path | None, Path | None, Path | None], timeout_s: float) -> None:
    """Returns when the service (""; all of them) serves; raises NotServingError otherwise, within `timeout_s`.

    `tls`: PEM files of the CA, and of the certificate and the key to show; None three times for plain text.
    """
    end = time.monotonic() + timeout_s
    try:
        with _connect(endpoint, tls, timeout_s) as connection:
            connection.sendall(request(service))
            status = answer(lambda size: _read(connection, size, end))
    except TimeoutError as late:
        raise NotServingError(f"no answer within {timeout_s:g} s") from late
    except OSError as failed:  # ssl.SSLError is one
        raise NotServingError(f"it cannot be asked: {failed.strerror or failed}") from failed
    if status != SERVING:
        raise NotServingError(f"{service or 'the process'} is {STATUSES.get(status, status)}")


def request(service: str) -> bytes:
    """Everything that is sent: the preface, no settings, and the call."""
    name = service.encode()
    if len(name) > SERVICE_MAX:
        raise NotServingError(f"service name {service!r} is longer than {SERVICE_MAX} bytes")
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": CHECK,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(b"\0" + _text(key) + _text(value) for key, value in headers.items())  # literal, not indexed
    message = b"\x0a" + _text(service) if service else b""  # field 1, length-delimited
    data = b"\0" + len(message).to_bytes(4, "big") + message  # not compressed
    return (
        PREFACE + _frame(SETTINGS, 0, 0) + _frame(HEADERS, END_HEADERS, STREAM, block)
        + _frame(DATA, END_STREAM, STREAM, data)
    )  # fmt: skip


def answer(read: Read) -> int:
    """The status that the server tells; raises NotServingError where it ends the call without one."""
    body = b""
    while True:
        header = read(FRAME_HEADER)
        kind, flags, stream = header[3], header[4], int.from_bytes(header[5:9], "big") & 0x7FFFFFFF
        payload = read(int.from_bytes(header[:3], "big"))
        if kind == GOAWAY:
            raise NotServingError("the server is going away")
        if stream != STREAM:
            continue
        if kind == DATA:
            body += payload
        message = body[5:]
        if len(body) >= 5 and len(message) == int.from_bytes(body[1:5], "big"):
            return message[1] if message[:1] == b"\x08" and len(message) > 1 else 0  # field 1, varint; absent: 0
        if kind == RST_STREAM or flags & END_STREAM:
            raise NotServingError("the server knows no such service, or has no gRPC health service")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dpucsi-health", allow_abbrev=False, description="Asks a gRPC service whether it serves; 0: it does."
    )
    parser.add_argument("--endpoint", required=True, help="unix:///path or tcp://host:port")
    parser.add_argument("--service", default="", help="full name of one gRPC service; none: the process as a whole")
    parser.add_argument("--tls-ca", type=Path, help="PEM file of the CA that the server's certificate must come from")
    parser.add_argument("--tls-cert", type=Path, help="PEM file of the certificate to show")
    parser.add_argument("--tls-key", type=Path, help="PEM file of its private key")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="seconds for all of it (default: 5)")
    options = parser.parse_args(argv)
    files = [options.tls_ca, options.tls_cert, options.tls_key]
    if any(files) and not all(files):
        parser.error("mTLS needs --tls-ca, --tls-cert and --tls-key together")
    return options


def _connect(endpoint: str, tls: tuple[Path | None, Path | None, Path | None], timeout_s: float) -> socket.socket:
    scheme, _, rest = endpoint.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(rest)
        except OSError:
            connection.close()
            raise
        return connection
    host, colon, port = rest.rpartition(":")
    if scheme != "tcp" or not host or not colon or not port.isdecimal():
        raise NotServingError("the endpoint is neither unix:///absolute/path nor tcp://host:port")
    host = host.strip("[]")
    plain = socket.create_connection((host, int(port)), timeout=timeout_s)
    return _encrypted(plain, host, tls) if tls[0] else plain


def _encrypted(plain: socket.socket, host: str, tls: tuple[Path | None, Path | None, Path | None]) -> socket.socket:
    import ssl  # noqa: PLC0415  # half of the start-up time, and most probes ask a unix socket

    ca, cert, key = tls
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(str(cert), key)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=host)


def _read(connection: socket.socket, size: int, end: float) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(max(0.001, end - time.monotonic()))
        part = connection.recv(size - len(data))
        if not part:
            raise NotServingError("the server closed the connection without an answer")
        data += part
    return data


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    """A string with its length before it; the same in HPACK (no Huffman code) and in protobuf, below 127 bytes."""
    return bytes((len(text.encode()),)) + text.encode()


if __name__ == "__main__":
    sys.exit(main())
