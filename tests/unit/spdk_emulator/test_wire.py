"""The socket: looks, order, limits, and what makes SPDK hang up."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from spdk_emulator.rpc.errors import RpcError
from spdk_emulator.rpc.server import CONNECTIONS_MAX, RpcServer

LOOK_S = 0.02
PATIENCE_S = 10


class Wire:
    """A server with three methods: `now`, `later` (when told), `refused`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started: list[str] = []
        self.go_on = asyncio.Event()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(512)
        self.server = RpcServer(listener, self.dispatch, LOOK_S)

    def dispatch(self, method: str, params: Any) -> Any:
        self.started.append(method)
        if method == "refused":
            raise RpcError(-19, "No such device")
        return self.later() if method == "later" else params

    def later(self) -> Awaitable[str]:
        async def wait() -> str:
            await self.go_on.wait()
            return "late"

        return wait()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    wire = Wire(tmp_path / "s")
    yield wire
    wire.server.close()


def request(request_id: Any, method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()


async def answers(reader: asyncio.StreamReader, count: int) -> list[Any]:
    decoder, text = json.JSONDecoder(), ""
    found: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            piece = await reader.read(65536)
            assert piece, f"hung up after {found}"
            text += piece.decode()
            while text:
                try:
                    value, end = decoder.raw_decode(text)
                except ValueError:
                    break
                found.append(value)
                text = text[end:]
    return found


async def ends(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        return await reader.read() == b""


async def test_requests_sent_together_cost_one_look(wire: Wire) -> None:
    reader, writer = await wire.open()
    writer.write(request(0, "now"))
    await answers(reader, 1)
    before = wire.server.looks
    writer.write(b"".join(request(number, "now", n=number) for number in range(100)))
    got = await answers(reader, 100)
    assert [answer["result"]["n"] for answer in got] == list(range(100))
    assert wire.server.looks == before + 1


async def test_a_late_answer_is_overtaken(wire: Wire) -> None:
    reader, writer = await wire.open()
    writer.write(request(1, "later") + request("two", "now") + request(3, "refused"))
    assert [answer["id"] for answer in await answers(reader, 2)] == ["two", 3]
    assert wire.started == ["later", "now", "refused"]
    wire.go_on.set()
    assert await answers(reader, 1) == [{"jsonrpc": "2.0", "id": 1, "result": "late"}]


async def test_a_batch_is_answered_as_one_after_its_slowest_member(wire: Wire) -> None:
    reader, writer = await wire.open()
    writer.write(b"[" + request(1, "later") + b"," + request(2, "refused") + b"]" + request(3, "now"))
    assert [answer["id"] for answer in await answers(reader, 1)] == [3]
    wire.go_on.set()
    (batch,) = await answers(reader, 1)
    assert [answer.get("error", {}).get("code") for answer in batch] == [None, -19]


@pytest.mark.parametrize("nonsense", [b"{bad json}", b"\xff\xfe{}", b'{"id": NaN}', b"{" + b" " * (256 << 10)])
async def test_nonsense_ends_the_connection_without_an_answer(wire: Wire, nonsense: bytes) -> None:
    reader, writer = await wire.open()
    writer.write(nonsense)
    assert await ends(reader)


async def test_a_half_closed_connection_loses_its_late_answer(wire: Wire) -> None:
    reader, writer = await wire.open()
    writer.write(request(1, "later"))
    writer.write_eof()
    assert await ends(reader)
    assert wire.started == ["later"]


async def test_a_request_may_come_in_pieces(wire: Wire) -> None:
    reader, writer = await wire.open()
    text = request(1, "now", name='ä"}\\')
    for place in range(0, len(text), 7):
        writer.write(text[place : place + 7])
        await writer.drain()
        before = wire.server.looks
        async with asyncio.timeout(PATIENCE_S):
            while wire.server.looks == before:  # noqa: ASYNC110 - the look counts, nobody signals it
                await asyncio.sleep(0)
    assert (await answers(reader, 1))[0]["result"] == {"name": 'ä"}\\'}


async def test_the_65th_connection_waits_for_a_place(wire: Wire) -> None:
    held = [await wire.open() for _ in range(CONNECTIONS_MAX)]
    for reader, writer in held:
        writer.write(request(1, "now"))
        await answers(reader, 1)
    reader, writer = await wire.open()
    writer.write(request(65, "now"))
    held[1][1].write(request(2, "now"))
    await answers(held[1][0], 1)
    assert len(wire.started) == CONNECTIONS_MAX + 1
    held[0][1].close()
    assert (await answers(reader, 1))[0]["id"] == 65
