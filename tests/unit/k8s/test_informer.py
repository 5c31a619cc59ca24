"""The cache is right again soon after everything that API servers do to their clients."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from dpucsi.aio import wait_until
from dpucsi.k8s import KubeApi, VolumeAttachment
from dpucsi.k8s.api import PAGE
from dpucsi.k8s.informer import BACKOFF_FIRST_S, BACKOFF_LONGEST_S, Informer, backoff
from dpucsi.k8s.objects import attachment_of
from dpucsi.testing.fake_kube import ATTACHMENTS, FakeKube, attachment, status

DRIVER = "csi.dpucsi.io"


@pytest.fixture
async def informer(api: KubeApi) -> AsyncIterator[Informer[VolumeAttachment]]:
    informer = Informer(api, ATTACHMENTS, attachment_of(DRIVER))
    running = asyncio.create_task(informer.run())
    yield informer
    running.cancel()
    await asyncio.wait([running])


async def put(kube: FakeKube, name: str, **metadata: str) -> None:
    await kube.put(ATTACHMENTS, name, **attachment(f"pv-{name}", "host-a", metadata))


async def shows(informer: Informer[VolumeAttachment], *names: str) -> None:
    async def same() -> bool | None:
        return set(informer.items) == set(names) or None

    await wait_until(same, f"the informer shows {names}, not {set(informer.items)}", timeout_s=10)


async def synced(informer: Informer[VolumeAttachment], kube: FakeKube) -> None:
    """Listed, and watching."""

    async def watches() -> bool | None:
        return any("watch=1" in request for request in kube.requests) or None

    await asyncio.wait_for(informer.synced.wait(), 10)
    await wait_until(watches, "a watch", timeout_s=10)


async def test_what_is_there_and_what_changes(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    await put(kube, "a", hostnqn="one")
    await synced(informer, kube)
    await put(kube, "b")
    await shows(informer, "a", "b")
    await put(kube, "a", hostnqn="two")
    await kube.delete(ATTACHMENTS, "b")
    await shows(informer, "a")
    assert informer.items["a"].metadata == {"hostnqn": "two"}


async def test_only_the_fields_that_are_needed_of_our_own_driver(
    kube: FakeKube, informer: Informer[VolumeAttachment]
) -> None:
    await kube.put(ATTACHMENTS, "foreign", **attachment("pv", "host-a", {}, driver="other.example.com"))
    await put(kube, "ours", subnqn="nqn")
    await shows(informer, "ours")
    kept = informer.items["ours"]
    assert (kept.node, kept.volume, kept.attached, kept.deleting) == ("host-a", "pv-ours", True, False)
    assert not hasattr(kept, "__dict__")


async def test_one_that_becomes_foreign_is_dropped(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    await put(kube, "a")
    await shows(informer, "a")
    await kube.put(ATTACHMENTS, "a", **attachment("pv", "host-a", {}, driver="other.example.com"))
    await shows(informer)


async def test_lists_in_pages(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    names = [f"a{number}" for number in range(2 * PAGE + 1)]
    for name in names:
        await put(kube, name)
    await informer.synced.wait()
    await shows(informer, *names)
    assert sum("continue=" in request for request in kube.requests) == 2


async def test_a_restart_of_the_server_loses_nothing(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    await put(kube, "a")
    await put(kube, "b")
    await synced(informer, kube)
    await kube.stop()
    await kube.delete(ATTACHMENTS, "a")
    await put(kube, "c")
    await kube.start()
    await shows(informer, "b", "c")


async def test_history_that_is_gone_is_listed_again(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    await put(kube, "a")
    await synced(informer, kube)
    await kube.stop()
    await kube.delete(ATTACHMENTS, "a")
    kube.compact()
    await kube.start()
    await shows(informer)
    await put(kube, "b")
    await shows(informer, "b")


async def test_history_that_ends_in_the_middle_of_a_list(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    for number in range(PAGE + 1):
        await put(kube, f"a{number}")

    async def once_too_old(path: str) -> web.Response | None:
        if "continue=" in path and sum("continue=" in request for request in kube.requests) == 1:
            return status(410, "the provided continue parameter is too old")
        return None

    kube.faults = once_too_old
    await shows(informer, *(f"a{number}" for number in range(PAGE + 1)))


async def test_the_order_of_a_throttling_server_is_kept(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    times: list[float] = []

    async def throttle(path: str) -> web.Response | None:
        times.append(asyncio.get_running_loop().time())
        return status(429, "too many requests", Retry_After="1") if len(times) == 1 else None

    kube.faults = throttle
    await put(kube, "a")
    await shows(informer, "a")
    assert times[1] - times[0] >= 1.0


async def test_a_slow_server_is_waited_for(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    let_go = asyncio.Event()

    async def slow(path: str) -> None:
        await let_go.wait()

    kube.faults = slow
    await put(kube, "a")

    async def asked() -> bool | None:
        return bool(kube.requests) or None

    await wait_until(asked, "a list", timeout_s=10)
    assert not informer.synced.is_set()
    let_go.set()
    await shows(informer, "a")
    assert kube.count(ATTACHMENTS) <= 2, "it did not ask again while it was waiting"


async def test_no_server_at_the_start(kube: FakeKube) -> None:
    await kube.stop()
    api = kube.connect()
    informer = Informer(api, ATTACHMENTS, attachment_of(DRIVER))
    running = asyncio.create_task(informer.run())
    await put(kube, "a")
    await asyncio.sleep(0)
    await kube.start()
    await shows(informer, "a")
    running.cancel()
    await asyncio.wait([running])
    await api.close()


async def test_half_a_line_of_json(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    async def broken_once(path: str) -> web.Response | None:
        if "watch=1" in path and sum("watch=1" in request for request in kube.requests) == 1:
            return web.Response(body=b'{"type": "ADDED", "object": {"meta')
        return None

    kube.faults = broken_once
    await put(kube, "a")
    await synced(informer, kube)
    await put(kube, "b")
    await shows(informer, "a", "b")


async def test_a_bookmark_moves_the_version_on(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    """After it, history up to it may go without a new list."""
    await put(kube, "a")
    await synced(informer, kube)
    await kube.bookmark(ATTACHMENTS)
    await put(kube, "b")
    await shows(informer, "a", "b")


async def test_not_allowed_says_what_to_grant(api: KubeApi, kube: FakeKube) -> None:
    async def forbidden(path: str) -> web.Response:
        return status(403, 'volumeattachments is forbidden: User "x" cannot list resource')

    kube.faults = forbidden
    with pytest.raises(Exception, match=r"cannot list resource.*grant it to this service account"):
        await api.get(ATTACHMENTS)


async def test_a_change_is_not_missed_between_two_looks(kube: FakeKube, informer: Informer[VolumeAttachment]) -> None:
    await synced(informer, kube)
    change = informer.changed()
    await put(kube, "a")
    await shows(informer, "a")
    await asyncio.wait_for(change, 1)


@pytest.mark.parametrize("failures", [1, 5, 500])
def test_pauses_grow_to_a_limit_and_are_spread(failures: int) -> None:
    least, most = backoff(failures, lambda: 0.0), backoff(failures, lambda: 1.0)
    assert 0 < least < most <= BACKOFF_LONGEST_S


async def test_a_server_that_ends_each_watch_at_once_is_not_asked_in_a_loop(
    kube: FakeKube, informer: Informer[VolumeAttachment]
) -> None:
    times: list[float] = []
    enough = asyncio.Event()

    async def end_at_once(path: str) -> web.Response | None:
        if "watch=1" not in path:
            return None
        times.append(asyncio.get_running_loop().time())
        if len(times) == 4:
            enough.set()
        return web.Response(body=b"")

    kube.faults = end_at_once
    await asyncio.wait_for(enough.wait(), 10)
    assert times[3] - times[0] >= 3 * BACKOFF_FIRST_S * 0.9


async def test_a_watch_that_is_not_allowed_is_tried_less_and_less_often(
    kube: FakeKube, informer: Informer[VolumeAttachment]
) -> None:
    times: list[float] = []
    enough = asyncio.Event()

    async def forbid(path: str) -> web.Response | None:
        if "watch=1" not in path:
            return None
        times.append(asyncio.get_running_loop().time())
        if len(times) == 5:
            enough.set()
        return status(403, "cannot watch resource")

    kube.faults = forbid
    await asyncio.wait_for(enough.wait(), 20)
    assert times[4] - times[3] > times[1] - times[0]
    assert times[4] - times[0] >= sum(backoff(number, lambda: 0.0) for number in range(1, 5))
