"""Bytes <-> messages, without a socket: a length of four bytes, then JSON."""

import json

from spdk_emulator.fabric.messages import Message, from_json, to_json

LENGTH_SIZE = 4
FRAME_MAX = 16 << 20  # bytes; 1,024 namespaces need 300 KB


def encode(message: Message) -> bytes:
    """One frame."""
    body = json.dumps(to_json(message), separators=(",", ":")).encode()
    return len(body).to_bytes(LENGTH_SIZE, "big") + body


class FrameReader:
    """Collects bytes and gives back whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; raises ValueError for nonsense."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= LENGTH_SIZE:
            length = int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
            if length > FRAME_MAX:
                raise ValueError(f"a frame of {length} bytes")
            end = LENGTH_SIZE + length
            if len(self._buffer) < end:
                break
            messages.append(from_json(json.loads(self._buffer[LENGTH_SIZE:end])))
            del self._buffer[:end]
        return messages
