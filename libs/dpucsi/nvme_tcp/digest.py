"""CRC32C, the digest of PDU headers and data (NVMe/TCP Transport 1.0, section 3.3.1.1)."""

from collections.abc import Iterable

import google_crc32c

from dpucsi.nvme_tcp.buffers import Buffer

SIZE = 4  # bytes on the wire


def crc32c(*parts: Buffer) -> int:
    """Of the parts, one behind the other."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part if isinstance(part, bytes) else bytes(part))
    return value


def digest(parts: Iterable[Buffer]) -> bytes:
    """As it is written behind them: 4 bytes, least significant first."""
    return crc32c(*parts).to_bytes(SIZE, "little")
