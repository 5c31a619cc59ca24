import asyncio

import pytest

from dpucsi.aio import Operations, limit, outlive, remaining, wait_until
from dpucsi.errors import BusyError, TimedOutError


async def test_a_second_operation_for_the_same_object_is_refused_at_once() -> None:
    operations, release = Operations(limit_s=10), asyncio.Event()
    first = asyncio.create_task(operations.run("v1", "stage", release.wait))
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="v1"):
        await operations.run("v1", "unstage", release.wait)
    release.set()
    assert await first is True
    assert await operations.run("v1", "stage again", release.wait) is True


async def test_other_objects_are_not_held_up() -> None:
    operations, release = Operations(limit_s=10), asyncio.Event()
    first = asyncio.create_task(operations.run("v1", "stage", release.wait))
    await asyncio.sleep(0)
    release.set()
    assert await operations.run("v2", "stage", release.wait) is True
    await first


async def test_an_operation_goes_on_when_its_caller_is_cancelled() -> None:
    operations, release, ended = Operations(limit_s=10), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await release.wait()
        ended.set()

    caller = asyncio.create_task(operations.run("v1", "stage", work))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(BusyError):
        await operations.run("v1", "stage", work)
    release.set()
    await operations.drain()
    assert ended.is_set()


async def test_an_operation_that_fails_without_a_caller_frees_its_object() -> None:
    operations, release = Operations(limit_s=10), asyncio.Event()

    async def work() -> None:
        await release.wait()
        raise TimedOutError("late")

    caller = asyncio.create_task(operations.run("v1", "stage", work))
    await asyncio.sleep(0)
    caller.cancel()
    release.set()
    await operations.drain()
    assert await operations.run("v1", "stage", release.wait) is True


async def test_the_limit_ends_an_operation_and_says_what_it_was() -> None:
    with pytest.raises(TimedOutError, match="stage for v1"):
        await Operations(limit_s=0.01).run("v1", "stage", asyncio.Event().wait)


async def test_inner_limits_never_outlast_outer_ones() -> None:
    assert remaining(7.0) == 7.0
    with limit(5.0):
        assert remaining(7.0) <= 5.0
        with limit(60.0):
            assert remaining(70.0) <= 5.0
        with limit(0.0):
            assert remaining(1.0) == 0.0
    assert remaining(7.0) == 7.0


async def test_what_outlives_its_caller_gives_it_the_result_or_the_error() -> None:
    async def work() -> float:
        return remaining(1e9)

    async def fail() -> None:
        raise BusyError("no")

    with limit(5):
        assert await outlive("work", work, timeout_s=1) == 1e9, "it has no deadline of its own"
        assert remaining(1e9) <= 5
    with pytest.raises(BusyError):
        await outlive("work", fail, timeout_s=1)


async def test_what_outlives_its_caller_goes_on_when_that_one_leaves() -> None:
    release, ended = asyncio.Event(), asyncio.Semaphore(0)

    async def work() -> None:
        await release.wait()
        ended.release()

    with limit(0), pytest.raises(TimedOutError, match="did not end within"):
        await outlive("making it", work, timeout_s=10)
    caller = asyncio.create_task(outlive("making it", work, timeout_s=10))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    release.set()
    async with asyncio.timeout(10):
        await ended.acquire()
        await ended.acquire()


async def test_wait_until_returns_what_it_saw() -> None:
    looks = iter([None, None, "there"])

    async def look() -> str | None:
        return next(looks)

    assert await wait_until(look, "the thing", timeout_s=5) == "there"


async def test_wait_until_looks_once_more_at_the_deadline_and_names_what_was_missing() -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    with pytest.raises(TimedOutError, match="the disk showing up"):
        await wait_until(look, "the disk showing up", timeout_s=0.02)
    assert looks >= 2
