"""A proxy between our host and a target that spoils what the controller says, or turns a bit in either direction."""

import asyncio
import random
import struct
from typing import Self

from benchmarks.pdu_mutations import MUTATIONS
from dpucsi.testing.raw_pdus import RawPdu


class Spoiler:
    """What happens to one session: after `quiet` PDUs of the controller the next one is spoilt. Without digests."""

    def __init__(self, chance: random.Random, quiet: int) -> None:
        self._chance = chance
        self._left = quiet
        self._buffer = b""
        self.mutation = ""

    def from_controller(self, data: bytes) -> bytes:
        """Whole PDUs, as they are or spoilt."""
        self._buffer += data
        out = []
        while len(self._buffer) >= 8:
            kind, flags, hlen, pdo, plen = struct.unpack("<BBBBI", self._buffer[:8])
            if len(self._buffer) < plen:
                break
            whole, self._buffer = self._buffer[:plen], self._buffer[plen:]
            pdu = RawPdu(kind, whole[8:hlen], whole[pdo:] if pdo else b"", flags=flags)
            out += self._spoil(pdu)
        return b"".join(out)

    def from_host(self, data: bytes) -> bytes:
        """Nothing happens to it."""
        return data

    def _spoil(self, pdu: RawPdu) -> list[bytes]:
        self._left -= 1
        if self._left != 0:
            return [pdu.encode()]
        mutate = self._chance.choice(MUTATIONS)
        self.mutation = mutate.__name__
        return mutate(self._chance, pdu, lambda one: one.encode())


class BitFlipper:
    """Turns one bit of one direction, after `quiet` bytes of it."""

    def __init__(self, chance: random.Random, quiet: int) -> None:
        self._is_host = chance.random() < 0.5
        self._left = quiet
        self._bit = 1 << chance.randrange(8)
        self.mutation = f"bit of the {'host' if self._is_host else 'controller'}"

    def from_controller(self, data: bytes) -> bytes:
        """As it is, or with the bit."""
        return data if self._is_host else self._flip(data)

    def from_host(self, data: bytes) -> bytes:
        """As it is, or with the bit."""
        return self._flip(data) if self._is_host else data

    def _flip(self, data: bytes) -> bytes:
        at, self._left = self._left, self._left - len(data)
        if not 0 <= at < len(data):
            return data
        return data[:at] + bytes([data[at] ^ self._bit]) + data[at + 1 :]


class Proxy:
    """Listens on `port`; each connection goes on to the target's port, through the spoiler of the session."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.spoiler: Spoiler | BitFlipper | None = None
        self.port = 0

    async def start(self) -> Self:
        """Returns when it listens."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """Ends all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        """Ends it."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_target = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [writer, to_target[1]]
        await asyncio.gather(
            self._forward(reader, to_target[1], is_host=True), self._forward(to_target[0], writer, is_host=False)
        )

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_host: bool) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(self._spoilt(data, is_host=is_host))
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def _spoilt(self, data: bytes, *, is_host: bool) -> bytes:
        if self.spoiler is None:
            return data
        return self.spoiler.from_host(data) if is_host else self.spoiler.from_controller(data)
