"""The client against a scripted SPDK: answers, deadlines, cancellation, windows and losses."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spdk.scripted_spdk import Request, ScriptedSpdk, Session, echo

from dpucsi.aio import limit
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, TimedOutError, UnavailableError
from dpucsi.spdk import ConnectionLostError, MethodNotFoundError, SpdkClient, SpdkError, Trace
from dpucsi.spdk.client import backoff
from dpucsi.spdk.errors import OutOfMemoryError


def keep(session: Session, request: Request) -> None:
    """The script that never answers by itself."""


async def test_an_answer(client: SpdkClient) -> None:
    assert await client.call("echo", {"a": 1}) == {"a": 1}
    assert client.version is not None
    assert (client.version.major, client.version.minor, str(client.version)) == (26, 9, "SPDK v26.09-pre")
    assert "echo" in client.methods
    assert client.instance is not None
    assert client.instance.pid == 4711


async def test_answers_in_another_order_find_their_callers(far: ScriptedSpdk, client: SpdkClient) -> None:
    far.script = keep
    calls = [asyncio.ensure_future(client.call("echo", {"n": n})) for n in range(50)]
    requests = await far.wait_for(50)
    for request in reversed(requests):
        echo(far.sessions[0], request)
    assert await asyncio.gather(*calls) == [{"n": n} for n in range(50)]


async def test_the_first_questions_leave_in_one_write(far: ScriptedSpdk, client: SpdkClient) -> None:
    await client.call("echo")
    assert far.sessions[0].reads[0] == 3


async def test_calls_made_together_leave_in_one_write(far: ScriptedSpdk, client: SpdkClient) -> None:
    await client.call("echo")
    await asyncio.gather(*(client.call("echo", {"n": n}) for n in range(20)))
    assert far.sessions[0].reads[-1] == 20


async def test_rounds_are_counted(far: ScriptedSpdk, client: SpdkClient) -> None:
    await client.call("echo")
    client.trace = Trace()
    await asyncio.gather(client.call("echo", {"n": 1}), client.call("echo", {"n": 2}))
    await client.call("echo", {"n": 3})
    assert client.trace.rounds == 2
    assert [(call.round, call.method, call.params) for call in client.trace.calls] == [
        (1, "echo", {"n": 1}),
        (1, "echo", {"n": 2}),
        (2, "echo", {"n": 3}),
    ]
    assert all(call.ms is not None and call.ms > 0 for call in client.trace.calls)


async def test_errors_have_classes_of_their_own(far: ScriptedSpdk, client: SpdkClient) -> None:
    far.script = lambda session, request: session.refuse(request, request["params"]["code"], "why")
    with pytest.raises(SpdkError, match=r"storage at unix:///.* refused echo: why \(code -17\)") as caught:
        await client.call("echo", {"code": -17})
    assert (caught.value.code, caught.value.method) == (-17, "echo")
    assert isinstance(caught.value, FailedPreconditionError)
    with pytest.raises(MethodNotFoundError, match="no method echo"):
        await client.call("echo", {"code": -32601})
    with pytest.raises(OutOfMemoryError):
        await client.call("echo", {"code": -12})


async def test_a_request_too_large_is_refused_and_nothing_else_suffers(far: ScriptedSpdk, client: SpdkClient) -> None:
    with pytest.raises(InvalidArgumentError):
        await client.call("echo", {"n": "x" * (1 << 18)})
    assert await client.call("echo", {"n": 1}) == {"n": 1}
    assert len(far.sessions) == 1


async def test_an_answer_of_megabytes(far: ScriptedSpdk, client: SpdkClient) -> None:
    far.script = lambda session, request: session.answer(request, ["x" * 1000] * 4000)
    assert await client.call("echo") == ["x" * 1000] * 4000


# Deadlines


async def test_a_deadline_ends_the_call_and_its_late_answer_is_dropped(far: ScriptedSpdk, client: SpdkClient) -> None:
    far.script = keep
    with pytest.raises(TimedOutError, match=r"storage at .* did not answer echo within 0.1 s"):
        await client.call("echo", {"n": 1}, timeout=0.1)
    (late,) = await far.wait_for(1)
    far.script = echo
    far.sessions[0].answer(late, "late")
    assert await client.call("echo", {"n": 2}) == {"n": 2}
    assert len(far.sessions) == 1


async def test_the_deadline_of_the_operation_counts(far: ScriptedSpdk, client: SpdkClient) -> None:
    far.script = keep
    with limit(0.1), pytest.raises(TimedOutError):
        await client.call("echo", timeout=9)
    with limit(0), pytest.raises(TimedOutError, match="not sent"):
        await client.call("echo", {"n": "never"})
    assert [request.get("params") for request in far.requests] == [None]


async def test_away_until_the_deadline(tmp_path: Path) -> None:
    async with SpdkClient(f"unix://{tmp_path}/none.sock", name="DPU") as client:
        with pytest.raises(UnavailableError, match=r"DPU at unix:///.*none.sock could not be reached .*No such file"):
            await client.call("echo", timeout=0.2)


async def test_a_call_waits_for_spdk_to_come(tmp_path: Path) -> None:
    far = ScriptedSpdk(tmp_path / "later.sock")
    async with SpdkClient(far.endpoint) as client:
        call = asyncio.ensure_future(client.call("echo", {"n": 1}))
        with pytest.raises(UnavailableError, match="No such file"):
            await client.call("echo", timeout=0.05)
        assert not call.done()
        async with far:
            assert await asyncio.wait_for(call, 10) == {"n": 1}


async def test_a_peer_that_accepts_and_stays_silent_is_unavailable(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda _r, _w: asyncio.sleep(60), tmp_path / "silent.sock")
    async with server, SpdkClient(f"unix://{tmp_path}/silent.sock") as client:
        with pytest.raises(UnavailableError, match="could not be reached"):
            await client.call("echo", timeout=0.2)


# The window


async def test_no_more_in_flight_than_the_window(far: ScriptedSpdk) -> None:
    far.script = keep
    async with SpdkClient(far.endpoint, window=3) as client:
        calls = [asyncio.ensure_future(client.call("echo", {"n": n})) for n in range(10)]
        for done in range(0, 10, 1):
            here = await far.wait_for(min(done + 3, 10))
            assert len(far.requests) <= done + 3
            echo(far.sessions[0], here[done])
        assert await asyncio.gather(*calls) == [{"n": n} for n in range(10)]


async def test_a_call_that_left_keeps_its_slot_until_spdk_answers(far: ScriptedSpdk) -> None:
    far.script = keep
    async with SpdkClient(far.endpoint, window=2) as client:
        leaving = asyncio.ensure_future(client.call("echo", {"n": 0}))
        staying = asyncio.ensure_future(client.call("echo", {"n": 1}))
        first, second = await far.wait_for(2)
        leaving.cancel()
        waiting = asyncio.ensure_future(client.call("echo", {"n": 2}))
        with suppress(asyncio.CancelledError):
            await leaving
        assert len(far.requests) == 2
        echo(far.sessions[0], first)
        echo(far.sessions[0], (await far.wait_for(3))[2])
        echo(far.sessions[0], second)
        assert list(await asyncio.gather(staying, waiting)) == [{"n": 1}, {"n": 2}]


async def test_a_window_full_of_unanswered_requests_starts_afresh(far: ScriptedSpdk) -> None:
    far.script = keep
    async with SpdkClient(far.endpoint, window=2) as client:
        for _ in range(2):
            with pytest.raises(TimedOutError):
                await client.call("echo", timeout=0.05)
        far.script = echo
        assert await client.call("echo", {"n": 1}) == {"n": 1}
        assert len(far.sessions) == 2


@pytest.mark.parametrize("window", [0, 401])
def test_a_window_beyond_what_spdk_bears(window: int) -> None:
    with pytest.raises(InvalidArgumentError, match="window"):
        SpdkClient("unix:///x", window=window)


# Cancellation


class Cut:
    """Runs a coroutine by hand and cancels it at its n-th suspension."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int) -> None:
        self.coroutine, self.at, self.suspended = coroutine, at, 0

    def __await__(self) -> Any:
        try:
            waits_for = self.coroutine.send(None)
            while True:
                self.suspended += 1
                if self.suspended == self.at:
                    if waits_for is not None:  # what Task.cancel does with the future that it waits for
                        waits_for.cancel()
                    self.coroutine.throw(asyncio.CancelledError())
                    raise AssertionError("it went on after a cancellation")
                try:
                    yield waits_for
                except BaseException as error:
                    waits_for = self.coroutine.throw(error)
                else:
                    waits_for = self.coroutine.send(None)
        except StopIteration as done:
            return done.value


async def run(cut: Cut) -> Any:
    return await cut


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("crowded", [True, False])
async def test_a_call_cut_at_every_await_leaves_the_others_their_answers(
    far: ScriptedSpdk, connected: bool, crowded: bool
) -> None:
    """`crowded`: the window is full, so that waiting for a turn is cut as well."""
    for at in range(1, 100):
        far.script = echo
        async with SpdkClient(far.endpoint, window=1) as client:
            if connected:
                await client.call("echo")
            other = asyncio.ensure_future(client.call("echo", {"other": at})) if crowded else None
            if connected and crowded:
                await asyncio.sleep(0)  # the other one takes the only slot
            cut = Cut(client.call("echo", {"cut": at}), at)
            completed = False
            with suppress(asyncio.CancelledError):
                async with asyncio.timeout(10):
                    assert await run(cut) == {"cut": at}
                completed = True
            assert await client.call("echo", {"next": at}) == {"next": at}
            if other is not None:
                assert await other == {"other": at}
            if completed:
                assert at > 1
                return
    raise AssertionError("it never completed")


async def test_100_calls_cancelled_at_any_moment_never_shift_an_answer(far: ScriptedSpdk, client: SpdkClient) -> None:
    async def slowly(session: Session, request: Request) -> None:
        await asyncio.sleep(0)
        echo(session, request)

    far.script = slowly
    calls = [asyncio.ensure_future(client.call("echo", {"n": n})) for n in range(200)]
    for turn, call in enumerate(calls[::2]):
        if turn % 3 == 0:
            await asyncio.sleep(0)
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    for n, result in enumerate(results):
        assert result == {"n": n} or (n % 2 == 0 and isinstance(result, asyncio.CancelledError))


# Losses


async def test_calls_in_flight_fail_with_an_unknown_outcome(far: ScriptedSpdk, client: SpdkClient) -> None:
    far.script = lambda session, request: session.close() if request["params"]["n"] == 1 else None
    results = await asyncio.gather(*(client.call("echo", {"n": n}) for n in range(2)), return_exceptions=True)
    for lost in results:
        assert isinstance(lost, ConnectionLostError)
        assert "storage at unix:///" in str(lost)
        assert "whether echo was carried out is unknown" in str(lost)


async def test_calls_that_waited_for_their_turn_go_out_on_the_next_connection(far: ScriptedSpdk) -> None:
    far.script = lambda session, request: session.close() if len(far.sessions) == 1 else echo(session, request)
    async with SpdkClient(far.endpoint, window=1) as client:
        first, second = await asyncio.gather(
            client.call("echo", {"n": 1}), client.call("echo", {"n": 2}), return_exceptions=True
        )
    assert isinstance(first, ConnectionLostError)
    assert second == {"n": 2}


async def test_ids_are_never_used_again(far: ScriptedSpdk, client: SpdkClient) -> None:
    await client.call("echo")
    far.sessions[0].close()
    with suppress(ConnectionLostError):
        await client.call("echo")
    await client.call("echo")
    ids = [request["id"] for request in far.requests]
    assert len(set(ids)) == len(ids)
    assert len(far.sessions) == 2


@pytest.mark.parametrize(
    ("nonsense", "found"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
        (b'{"jsonrpc":"2.0","id":999999,"result":1}', "the id 999999"),
        (b'{"jsonrpc":"2.0","id":"a","result":1}', "the id 'a'"),
        (b"[1]", "not with a JSON object"),
        (b'{"a":' * 70, "nested deeper"),
    ],
)
async def test_nonsense_ends_the_connection_and_the_calls(
    far: ScriptedSpdk, client: SpdkClient, nonsense: bytes, found: str
) -> None:
    far.script = lambda session, _: session.raw(nonsense)
    with pytest.raises(UnavailableError, match=r"storage at unix:///.* does not speak JSON-RPC") as caught:
        await client.call("echo")
    assert found in str(caught.value)
    far.script = echo
    assert await client.call("echo", {"n": 1}) == {"n": 1}
    assert len(far.sessions) == 2


async def test_an_answer_twice_ends_the_connection(far: ScriptedSpdk, client: SpdkClient) -> None:
    def twice(session: Session, request: Request) -> None:
        echo(session, request)
        echo(session, request)

    far.script = twice
    await client.call("echo")
    far.script = echo
    with suppress(ConnectionLostError):
        await client.call("echo")
    assert await client.call("echo", {"n": 1}) == {"n": 1}
    assert len(far.sessions) == 2


async def test_a_closed_client_says_so(far: ScriptedSpdk) -> None:
    client = SpdkClient(far.endpoint)
    await client.call("echo")
    await client.close()
    with pytest.raises(UnavailableError, match="this client was closed"):
        await client.call("echo")
    with pytest.raises(UnavailableError, match="this client was closed"):
        await client.new_instance(client.instance)


async def test_closing_waits_for_the_answers_in_flight(far: ScriptedSpdk) -> None:
    far.script = keep
    client = SpdkClient(far.endpoint)
    call = asyncio.ensure_future(client.call("echo", {"n": 1}))
    (request,) = await far.wait_for(1)
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(0)
    echo(far.sessions[0], request)
    assert await call == {"n": 1}
    await closing


def test_backoff_doubles_up_to_2_s_and_is_spread() -> None:
    assert [backoff(n, lambda: 1.0) for n in (0, 1, 2, 6, 1000)] == [0.05, 0.1, 0.2, 2.0, 2.0]
    assert backoff(0, lambda: 0.0) == 0.025
