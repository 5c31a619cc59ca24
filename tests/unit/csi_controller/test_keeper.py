"""What makes csi-controller look at exports, over a fake API server and a fake storage backend."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest
import structlog.testing
from aiohttp import web

from csi_controller import keeper as keeper_module
from csi_controller.keeper import AGAIN_LONGEST_S, AT_ONCE, Keeper, again_after
from csi_controller.restore import Restorer
from dpucsi import naming
from dpucsi.aio import Operations, background, wait_until
from dpucsi.backends import SizeRange
from dpucsi.csi import publish_context
from dpucsi.errors import UnavailableError
from dpucsi.k8s import Cluster, SoleLeadership
from dpucsi.model import AttachSpec
from dpucsi.testing.fake_backend import FakeBackend
from dpucsi.testing.fake_kube import ATTACHMENTS, VOLUMES, FakeKube, attachment, status, volume

MIB = 1 << 20


class Switch(SoleLeadership):
    """Leads in `term`; 0: not now."""

    def __init__(self) -> None:
        self.term = 1
        self.changed = asyncio.Condition()

    async def validity(self) -> float:
        return 10.0 if self.term else 0.0

    async def new_term(self, other_than: int = 0) -> int:
        async with self.changed:
            await self.changed.wait_for(lambda: self.term not in (0, other_than))
        return self.term

    async def set(self, term: int) -> None:
        async with self.changed:
            self.term = term
            self.changed.notify_all()


class Rig:
    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.api = kube.connect()
        self.cluster = Cluster(self.api, "csi.dpucsi.io")
        self.backend = FakeBackend()
        self.leadership = Switch()
        self.operations = Operations(limit_s=20)
        backends = {"pool-a": self.backend}
        restorer = Restorer(self.cluster, self.leadership, backends, self.operations)
        self.keeper = Keeper(self.cluster, self.leadership, backends, restorer)
        self.specs: dict[UUID, AttachSpec] = {}

    async def attach(self, *, granted: bool = True, loaded: bool = True) -> UUID:
        """One volume, attached as the cluster knows."""
        uuid = uuid4()
        hostnqn = naming.hostnqn(uuid4(), naming.new_generation())
        await self.backend.create(uuid, SizeRange(64 * MIB), {})
        spec = await self.backend.grant(uuid, lambda _: hostnqn)
        if not granted:
            await self.backend.revoke(uuid, lambda _: True)
        if not loaded:
            del self.backend.volumes[uuid]
        self.specs[uuid] = spec
        await self.kube.put(VOLUMES, f"pv-{uuid}", **volume(f"pool-a/{uuid}"))
        await self.kube.put(
            ATTACHMENTS, f"csi-{uuid}", **attachment(f"pv-{uuid}", "host-a", publish_context.encode(spec))
        )
        return uuid

    def is_back(self, uuid: UUID) -> bool:
        return self.backend.volumes[uuid].hosts == (self.specs[uuid].hostnqn,)

    async def all_back(self) -> None:
        async def back() -> bool | None:
            return all(map(self.is_back, self.specs)) or None

        await wait_until(back, "every export is back", timeout_s=20)

    async def idle(self) -> None:
        async def nothing_open() -> bool | None:
            return None if self.keeper._open else True

        await wait_until(nothing_open, "nothing is open any more", timeout_s=20)


@pytest.fixture(autouse=True)
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that finds what was missed would hide that it was missed."""
    monkeypatch.setattr(keeper_module, "LOOK_FIRST_S", 1000.0)


@pytest.fixture
async def rig(kube: FakeKube) -> AsyncIterator[Rig]:
    rig = Rig(kube)
    yield rig
    await rig.api.close()


@pytest.fixture
async def running(rig: Rig) -> AsyncIterator[Callable[[], None]]:
    """Calling it starts everything."""
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []

        async def serve() -> None:
            async with background(rig.cluster.run, rig.keeper.run):
                await asyncio.Event().wait()

        yield lambda: tasks.append(group.create_task(serve()))
        for task in tasks:
            task.cancel()


async def test_what_is_missing_at_the_start(rig: Rig, running: Callable[[], None]) -> None:
    for granted in (True, False, False):
        await rig.attach(granted=granted)
    running()
    await rig.all_back()


async def test_a_storage_node_that_forgot(rig: Rig, running: Callable[[], None]) -> None:
    for _ in range(5):
        await rig.attach(granted=False)
    running()
    await rig.all_back()
    await rig.idle()
    for _ in range(3):
        rig.backend.restart()
        await rig.all_back()
        await rig.idle()


async def test_a_restart_during_the_restore(rig: Rig, kube: FakeKube, running: Callable[[], None]) -> None:
    """The grant was made, and forgotten before it was confirmed."""
    uuid = await rig.attach(granted=False)
    let_go, asked = asyncio.Event(), asyncio.Event()

    async def hold_the_second_look(path: str) -> web.Response | None:
        if path == f"{ATTACHMENTS}/csi-{uuid}" and kube.count(path) == 2:
            asked.set()
            await let_go.wait()
        return None

    kube.faults = hold_the_second_look
    running()
    await asyncio.wait_for(asked.wait(), 10)
    instance = await rig.backend.new_instance()
    noticed = asyncio.create_task(rig.backend.new_instance(instance))
    rig.backend.restart()
    await noticed

    async def noted() -> bool | None:
        return bool(rig.keeper._again) or not rig.keeper._open or None

    await wait_until(noted, "the keeper has noticed it too", timeout_s=10)
    let_go.set()
    await rig.idle()
    assert rig.is_back(uuid)


async def test_a_volume_that_is_loaded_late(rig: Rig, running: Callable[[], None]) -> None:
    uuid = await rig.attach(loaded=False)
    with structlog.testing.capture_logs() as logs:
        running()

        async def told() -> bool | None:
            return any(str(uuid) in entry.get("error", "") for entry in logs) or None

        await wait_until(told, "a line about it", timeout_s=10)
        await rig.backend.create(uuid, SizeRange(64 * MIB), {})
        await rig.all_back()
    tries = [entry for entry in logs if entry["event"].startswith("an export could not")]
    assert len(tries) == 1, "the same reason is said once"


async def test_storage_that_cannot_be_reached_for_a_while(rig: Rig, running: Callable[[], None]) -> None:
    await rig.attach(granted=False)
    rig.backend.trouble = UnavailableError("no SPDK")
    running()

    async def tried() -> bool | None:
        return bool(rig.keeper._open) or None

    await wait_until(tried, "a first try", timeout_s=10)
    rig.backend.trouble = None
    await rig.all_back()


async def test_another_operation_of_the_volume_goes_first(rig: Rig, running: Callable[[], None]) -> None:
    uuid = await rig.attach(granted=False)
    done = asyncio.Event()
    holding = asyncio.create_task(rig.operations.run(f"pool-a/{uuid}", "DeleteVolume", done.wait))
    await asyncio.sleep(0)
    running()

    async def tried() -> bool | None:
        return bool(rig.keeper._open) or None

    await wait_until(tried, "a first try", timeout_s=10)
    assert not rig.is_back(uuid)
    done.set()
    await rig.all_back()
    await holding


async def test_nothing_is_restored_while_somebody_else_leads(rig: Rig, running: Callable[[], None]) -> None:
    uuid = await rig.attach(granted=False)
    await rig.leadership.set(0)
    running()
    await rig.cluster.synced()
    rig.backend.restart()
    await rig.idle()
    assert not rig.is_back(uuid)
    await rig.leadership.set(2)
    await rig.all_back()


async def test_an_attachment_that_goes_while_it_waits_is_forgotten(rig: Rig, running: Callable[[], None]) -> None:
    uuid = await rig.attach(loaded=False)
    running()

    async def waits() -> bool | None:
        return bool(rig.keeper._open) or None

    await wait_until(waits, "it waits for its volume", timeout_s=10)
    await rig.kube.delete(ATTACHMENTS, f"csi-{uuid}")
    await rig.idle()


async def test_the_look_finds_what_was_missed(
    rig: Rig, running: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published just before the storage died, recorded as attached just after the restart was dealt with."""
    monkeypatch.setattr(keeper_module, "LOOK_FIRST_S", 0.05)
    monkeypatch.setattr(keeper_module, "LOOK_LONGEST_S", 0.05)
    running()
    await rig.cluster.synced()
    await rig.attach(granted=False)
    await rig.all_back()


async def test_an_outage_of_the_api_server(rig: Rig, kube: FakeKube, running: Callable[[], None]) -> None:
    for _ in range(3):
        await rig.attach(granted=False)
    running()
    await rig.all_back()
    await rig.idle()
    await kube.stop()
    rig.backend.restart()

    async def tried() -> bool | None:
        return len(rig.keeper._open) == 3 or None

    await wait_until(tried, "a first try", timeout_s=10)
    await kube.start()
    await rig.all_back()


async def test_a_throttling_api_server(rig: Rig, kube: FakeKube, running: Callable[[], None]) -> None:
    answered = 0

    async def throttle(path: str) -> web.Response | None:
        nonlocal answered
        answered += 1
        return status(429, "too many requests", Retry_After="0") if answered % 2 else None

    for _ in range(10):
        await rig.attach(granted=False)
    kube.faults = throttle
    running()
    await rig.all_back()


async def test_many_at_once(rig: Rig, running: Callable[[], None]) -> None:
    for _ in range(5 * AT_ONCE):
        await rig.attach(granted=False)
    running()
    await rig.all_back()
    await rig.idle()
    rig.backend.restart()
    await rig.all_back()


@pytest.mark.parametrize("failures", [1, 5, 500])
def test_pauses_grow_to_a_limit(failures: int) -> None:
    assert 0 < again_after(failures) <= AGAIN_LONGEST_S
    assert again_after(0) == 0
