"""The client when SPDK is started again: a new instance is told from a new connection to the same one."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.spdk.scripted_spdk import Request, ScriptedSpdk, Session

from dpucsi.errors import UnavailableError
from dpucsi.spdk import ConnectionLostError, SpdkClient


async def test_a_new_connection_to_the_same_process_is_the_same_instance(far: ScriptedSpdk, client: SpdkClient) -> None:
    first = await asyncio.wait_for(client.new_instance(), 10)
    waiting = asyncio.ensure_future(client.new_instance(first))
    far.sessions[0].close()
    with suppress(ConnectionLostError):
        await client.call("echo")
    await client.call("echo")
    assert len(far.sessions) == 2
    assert client.instance == first
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("pid", [4712, 4711])
async def test_a_restart_is_a_new_instance_even_with_the_same_pid(
    far: ScriptedSpdk, client: SpdkClient, pid: int
) -> None:
    first = await asyncio.wait_for(client.new_instance(), 10)
    waiting = asyncio.ensure_future(client.new_instance(other_than=first))
    await far.stop()
    far.pid, far.started = pid, asyncio.get_running_loop().time()
    await far.start()
    second = await asyncio.wait_for(waiting, 10)
    assert second != first
    assert second.pid == pid
    assert await client.call("echo", {"n": 1}) == {"n": 1}


async def test_a_call_meant_for_one_process_is_not_sent_to_the_next_one(far: ScriptedSpdk) -> None:
    asked = []

    def restart(session: Session, request: Request) -> None:
        asked.append(request["params"]["n"])
        if len(far.sessions) > 1:
            return session.answer(request, None)
        far.pid, far.started = 4712, asyncio.get_running_loop().time()
        return session.close()

    far.script = restart
    async with SpdkClient(far.endpoint, window=1) as client:
        with client.only(await asyncio.wait_for(client.new_instance(), 10)):
            calls = [client.call("echo", {"n": n}) for n in (1, 2)]
            sent, waited = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(sent, ConnectionLostError)
        assert type(waited) is UnavailableError
        assert "was restarted before it was sent echo" in str(waited)
        await client.call("echo", {"n": 3})
    assert asked == [1, 3]


async def test_a_call_meant_for_one_process_outlives_a_lost_connection(far: ScriptedSpdk, client: SpdkClient) -> None:
    first = await asyncio.wait_for(client.new_instance(), 10)
    far.sessions[0].close()
    with suppress(ConnectionLostError):
        await client.call("echo")
    with client.only(first):
        assert await client.call("echo", {"n": 1}) == {"n": 1}


async def test_an_spdk_that_waits_for_its_start_is_spoken_to(tmp_path: Path) -> None:
    class Waiting(ScriptedSpdk):
        async def _take(self, session: Session, request: Request) -> None:
            if request["method"] == "framework_get_reactors":
                session.refuse(request, -1, "Method may only be called after framework is initialized")
            else:
                await super()._take(session, request)

    async with Waiting(tmp_path / "w.sock") as far, SpdkClient(far.endpoint) as client:
        assert await client.call("echo", {"n": 1}) == {"n": 1}
        assert client.instance is not None
