"""One NVMe/TCP connection of a host that says exactly what it is told to, and shows what comes back."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import Self

from dpucsi.testing import raw_pdus as raw
from dpucsi.testing.raw_pdus import RawPdu

ANSWER_S = 5.0


class NoAnswerError(Exception):
    """Nothing came in time, or the connection ended instead."""


@dataclass(frozen=True)
class Came:
    """A PDU that came. `header`: all of it before its digest; `special`: the part behind the 8 common bytes."""

    kind: int
    flags: int
    header: bytes
    data: bytes

    @property
    def special(self) -> bytes:
        """What only this type of PDU has."""
        return self.header[8:]

    @property
    def pdo(self) -> int:
        """Where the data began."""
        return self.header[3]

    @property
    def cid(self) -> int:
        """Of a response or of data."""
        return int.from_bytes(self.special[12:14] if self.kind == raw.CAPSULE_RESP else self.special[:2], "little")

    @property
    def status(self) -> tuple[int, int]:
        """Type and code of a response."""
        word = int.from_bytes(self.special[14:16], "little")
        return word >> 9 & 0b111, word >> 1 & 0xFF

    @property
    def result(self) -> int:
        """The first dword of a response."""
        return int.from_bytes(self.special[:4], "little")

    @property
    def r2t(self) -> tuple[int, int, int]:
        """Transfer tag, offset and length of an R2T."""
        ttag, offset, length = struct.unpack_from("<HII", self.special, 2)
        return ttag, offset, length

    @property
    def termination(self) -> tuple[int, int]:
        """Fatal error status and information of a termination request."""
        fes, fei = struct.unpack_from("<HI", self.special)
        return fes, fei


class RawPeer:
    """`cid` counts up with every command made by `next_cid`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.hdgst = self.ddgst = False
        self.alignment = 4
        self.maxh2cdata = 0
        self._cid = 0

    @classmethod
    async def open(cls, host: str, port: int, *, receive_buffer: int = 0) -> Self:
        """A connection on which nothing was said. `receive_buffer` in bytes, 0 for what the system gives."""
        sock = socket.socket(socket.AF_INET)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            return cls(*await asyncio.open_connection(sock=sock, limit=1 << 20))
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """At once."""
        self.writer.transport.abort()

    def next_cid(self) -> int:
        """A command id that was not used for long."""
        self._cid = self._cid % 0xFFF0 + 1
        return self._cid

    def send(self, *pdus: RawPdu | bytes) -> bytes:
        """Sends them in one piece, and returns it."""
        encoded = b"".join(
            pdu if isinstance(pdu, bytes) else pdu.encode(hdgst=self.hdgst, ddgst=self.ddgst, alignment=self.alignment)
            for pdu in pdus
        )
        if not self.writer.transport.is_closing():
            self.writer.write(encoded)
        return encoded

    async def receive(self, timeout_s: float = ANSWER_S) -> Came:
        """The next PDU; raises NoAnswerError. Digests that are there must be right."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._receive()
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as nothing:
            raise NoAnswerError(f"no PDU: {nothing or type(nothing).__name__}") from nothing

    async def ask(self, pdu: RawPdu, timeout_s: float = ANSWER_S) -> Came:
        """Sends a command that is answered without data, and returns the response."""
        self.send(pdu)
        came = await self.receive(timeout_s)
        if came.kind != raw.CAPSULE_RESP:
            raise NoAnswerError(f"a PDU of type {came.kind}, {came.header.hex()}, and no response")
        return came

    async def initialize(self, *, digests: int = 0, hpda: int = 0) -> Came:
        """Agrees with the controller; both sides use the digests that were asked for."""
        self.send(raw.ic_req(digests=digests, hpda=hpda))
        came = await self.receive()
        if came.kind != raw.IC_RESP:
            raise NoAnswerError(f"a PDU of type {came.kind} and no ICResp")
        _, cpda, agreed, self.maxh2cdata = struct.unpack_from("<HBBI", came.special)
        self.hdgst, self.ddgst = bool(agreed & 1), bool(agreed & 2)
        self.alignment = (cpda + 1) * 4
        return came

    async def connect(self, subnqn: str, hostnqn: str, *, qid: int = 0, cntlid: int = 0xFFFF) -> int:
        """Connects the queue and returns the controller's id; raises NoAnswerError where it is refused."""
        came = await self.ask(
            raw.connect(cid=self.next_cid(), subnqn=subnqn, hostnqn=hostnqn, qid=qid, cntlid=cntlid, sqsize=31)
        )
        if came.status != (0, 0):
            raise NoAnswerError(f"connect refused: {came.status}")
        return came.result & 0xFFFF

    async def enable(self) -> None:
        """Sets CC.EN, with entries of 64 and 16 bytes."""
        await self.ask(raw.property_set(cid=self.next_cid(), offset=0x14, value=0x0046_0001))

    async def write(self, slba: int, data: bytes) -> tuple[int, int]:
        """A whole write with its R2Ts, one PDU for each; the status."""
        cid = self.next_cid()
        self.send(raw.write(cid=cid, slba=slba, length=len(data)))
        while (came := await self.receive()).kind == raw.R2T:
            ttag, offset, length = came.r2t
            self.send(raw.h2c_data(cid, ttag, offset, data[offset : offset + length]))
        return came.status

    async def read(self, slba: int, length: int) -> bytes:
        """A whole read; raises NoAnswerError where it fails."""
        self.send(raw.read(cid=self.next_cid(), slba=slba, length=length))
        found = b""
        while (came := await self.receive()).kind == raw.C2H_DATA:
            found += came.data
            if came.flags & raw.SUCCESS:
                return found
        if came.status != (0, 0):
            raise NoAnswerError(f"read failed: {came.status}")
        return found

    async def ended(self, timeout_s: float = ANSWER_S) -> None:
        """Waits for the end of the connection once our side has ended; raises NoAnswerError, also at another PDU."""
        try:
            async with asyncio.timeout(timeout_s):
                if self.writer.can_write_eof():
                    self.writer.write_eof()
                rest = await self.reader.read(1)
        except TimeoutError as still:
            raise NoAnswerError("the connection goes on") from still
        except OSError:
            return
        if rest:
            raise NoAnswerError(f"more came: a PDU of type {rest[0]}")

    async def _receive(self) -> Came:
        common = await self.reader.readexactly(8)
        kind, flags, hlen, pdo, plen = struct.unpack("<BBBBI", common)
        whole = common + await self.reader.readexactly(plen - 8)
        header, end = whole[:hlen], plen
        if flags & raw.HDGSTF and kind not in (raw.IC_RESP, raw.C2H_TERM) and whole[hlen : hlen + 4] != raw.crc(header):
            raise NoAnswerError(f"a wrong header digest of {header.hex()}")
        if kind == raw.C2H_TERM:
            return Came(kind, flags, header, whole[hlen:])
        if flags & raw.DDGSTF:
            end -= 4
            if whole[end:] != raw.crc(whole[pdo:end]):
                raise NoAnswerError(f"a wrong data digest behind {header.hex()}")
        return Came(kind, flags, header, whole[pdo:end] if pdo else b"")
