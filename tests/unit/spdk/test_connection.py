"""What leaves a connection, and when: seen at its transport."""

import asyncio
import json
from contextlib import suppress
from itertools import count

import pytest

from dpucsi.spdk.connection import Connection


class Recorder(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def abort(self) -> None:
        """The loop reports the loss later."""

    def is_closing(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise AssertionError("SPDK drops its late answers to a half-closed connection")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def connection(recorder: Recorder) -> Connection:
    connection = Connection("SPDK", count(1), window=3)
    connection.connection_made(recorder)
    return connection


def answer(connection: Connection, request_id: int) -> None:
    connection.data_received(json.dumps({"id": request_id, "result": request_id}).encode())


async def turns(number: int = 5) -> None:
    """Lets everything that can run, run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_the_requests_of_one_turn_are_one_write(connection: Connection, recorder: Recorder) -> None:
    calls = asyncio.gather(*(connection.call("m") for _ in range(3)))
    await turns()
    assert [data.count(b'"method"') for data in recorder.writes] == [3]
    for request_id in (1, 2, 3):
        answer(connection, request_id)
    assert await calls == [1, 2, 3]


async def test_nothing_is_written_while_spdk_does_not_read(connection: Connection, recorder: Recorder) -> None:
    connection.pause_writing()
    cut, calls = [asyncio.ensure_future(connection.call("m")) for _ in range(3)], []
    await turns()
    for call in cut:  # each one held a slot of the window: all must come back
        call.cancel()
    calls = [asyncio.ensure_future(connection.call("m")) for _ in range(3)]
    await turns()
    assert recorder.writes == []
    connection.resume_writing()
    await turns()
    for request_id in (4, 5, 6):
        answer(connection, request_id)
    assert await asyncio.gather(*calls) == [4, 5, 6]
    for call in cut:
        with suppress(asyncio.CancelledError):
            await call


async def test_what_arrives_after_nonsense_is_not_believed(connection: Connection, recorder: Recorder) -> None:
    call = asyncio.ensure_future(connection.call("m"))
    await turns()
    answer(connection, 99)
    answer(connection, 1)
    await turns()
    assert not call.done()
    call.cancel()
