"""An export that is brought back never comes back after its fence: each step of it, against each way to detach."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from tests.unit.csi_controller.detach_story import ME, NAME, POINTS, Story, unavailable

from csi_controller.restore import Export, Restorer
from dpucsi import naming
from dpucsi.backends import StorageBackend
from dpucsi.csi import publish_context
from dpucsi.errors import DpucsiError, FailedPreconditionError, NotFoundError, UnavailableError
from dpucsi.model import AttachSpec
from dpucsi.testing.fake_kube import ATTACHMENTS, FakeKube, status


@pytest.fixture
async def story(kube: FakeKube) -> AsyncIterator[Story]:
    story = Story(kube)
    await story.prepare()
    yield story
    await story.api.close()


async def nothing() -> None:
    """Happens."""


async def test_an_export_comes_back_under_the_recorded_host_nqn(story: Story) -> None:
    await story.run("start", nothing)
    assert story.backend.volumes[story.volume_id.uuid].hosts == (story.hostnqn,)
    assert story.reached == list(POINTS), "a step is missing in the list of points"


async def test_again_changes_nothing(story: Story) -> None:
    await story.run("start", nothing)
    await story.settle()
    assert set(story.backend.allowed) == {(story.hostnqn,)}
    assert story.export.unconfirmed == set()


@pytest.mark.parametrize("point", POINTS)
async def test_a_detach_of_this_replica_is_never_undone(story: Story, point: str) -> None:
    await story.run(point, story.begin_detach)
    story.check_fence()
    story.check_end()


@pytest.mark.parametrize("point", POINTS)
async def test_a_detach_of_another_replica_is_not_undone_for_good(story: Story, point: str) -> None:
    await story.run(point, story.detach_elsewhere)
    story.check_end()


@pytest.mark.parametrize("point", POINTS[:-1])
async def test_an_attachment_deleted_by_force_leaves_nobody(story: Story, point: str) -> None:
    """At the end of a restore nothing is open any more: then it is for the orphan report."""
    await story.run(point, story.delete_by_force)
    if point == "attachment answered again":  # it stood, and was confirmed, before it went
        assert story.backend.volumes[story.volume_id.uuid].hosts == (story.hostnqn,)
    else:
        story.check_end()


@pytest.mark.parametrize("point", ["grant asked", "grant answered"])
@pytest.mark.parametrize("detach", ["begin_detach", "detach_elsewhere", "delete_by_force", "nothing"])
async def test_a_lost_answer_of_the_storage(story: Story, point: str, detach: str) -> None:
    """The grant is carried out or not, and nobody knows."""

    async def lost() -> None:
        await (nothing() if detach == "nothing" else getattr(story, detach)())
        await unavailable("grant")()

    await story.run(point, lost)
    if detach == "nothing":
        assert story.backend.volumes[story.volume_id.uuid].hosts == (story.hostnqn,)
    else:
        story.check_end()


async def test_what_failed_half_way_is_taken_back_in_the_same_breath(story: Story) -> None:
    async def gone_and_lost() -> None:
        await story.delete_by_force()
        await unavailable("grant")()

    story.at["grant answered"] = gone_and_lost
    with pytest.raises(UnavailableError):
        await story.restorer.restore(story.export)
    story.check_end()


async def test_taking_back_spares_the_other_node(story: Story) -> None:
    other = naming.hostnqn(naming.volume_uuid(story.dpu, "other"), naming.new_generation())
    await story.backend.grant(story.volume_id.uuid, lambda _: other)
    story.reached.clear()
    story.export = Export(NAME, story.volume_id, shared=True)
    await story.run("grant answered", story.delete_by_force)
    assert story.backend.volumes[story.volume_id.uuid].hosts == (other,)


async def test_what_failed_half_way_stays_open_until_it_has_succeeded(story: Story) -> None:
    """The host NQN stood when it was looked at, and the storage may carry the grant out later still."""
    story.at["grant answered"] = unavailable("grant")
    with pytest.raises(UnavailableError):
        await story.restorer.restore(story.export)
    assert story.export.unconfirmed == {story.hostnqn}
    await story.delete_by_force()
    await story.settle()
    story.check_end()


@pytest.mark.parametrize("point", POINTS[1:-1])
@pytest.mark.parametrize("detach", ["begin_detach", "detach_elsewhere", "delete_by_force"])
async def test_the_api_server_is_away_from_one_step_on(story: Story, kube: FakeKube, point: str, detach: str) -> None:
    """And back after some tries: what was not confirmed stays open until it is."""
    refused = 0
    watch = kube.faults

    async def away(path: str) -> web.Response | None:
        nonlocal refused
        refused += 1
        if refused > 5:
            kube.faults = watch
        return status(503, "the server is shutting down")

    async def strike() -> None:
        await getattr(story, detach)()
        kube.faults = away

    await story.run(point, strike)
    if not (detach == "delete_by_force" and point == "attachment answered again"):
        story.check_end()


@pytest.mark.parametrize("point", POINTS[1:-1])
async def test_cut_at_every_step_and_taken_up_by_a_new_process(story: Story, point: str) -> None:
    """The process dies; the detach comes to the next one, whose own restore runs beside it."""
    task: asyncio.Task[None]

    async def die() -> None:
        task.cancel()
        await asyncio.sleep(3600)

    story.at[point] = die
    task = asyncio.create_task(story.restorer._restore(story.export, story.backend))
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    story.restorer = story.new_restorer()
    story.export = Export(NAME, story.volume_id, shared=False)
    story.leadership._read_at = float("-inf")
    await asyncio.gather(story.run("-", nothing), story.begin_detach())
    story.check_fence()
    story.check_end()


# Who may restore


@pytest.mark.parametrize("age_s", [0.0, 14.0, 3600.0])
async def test_only_beside_the_attacher_that_leads(kube: FakeKube, age_s: float) -> None:
    story = Story(kube)
    await story.prepare(holder="dpucsi-controller-1")
    await story.hold_lease("dpucsi-controller-1", age_s)
    await story.settle()
    assert story.backend.allowed == []
    assert kube.count(f"{ATTACHMENTS}/{NAME}") == 0
    await story.api.close()


async def test_not_when_the_lease_may_be_somebody_elses(kube: FakeKube, story: Story) -> None:
    await story.hold_lease(ME, age_s=13.5)
    await story.settle()
    assert story.backend.allowed == []


async def test_not_without_a_lease(kube: FakeKube, story: Story) -> None:
    await kube.delete(
        "/apis/coordination.k8s.io/v1/namespaces/default/leases", "external-attacher-leader-csi-dpucsi-io"
    )
    await story.settle()
    assert story.backend.allowed == []


async def test_a_restore_ends_before_somebody_else_may_lead(kube: FakeKube, story: Story) -> None:
    await story.hold_lease(ME, age_s=12.8)  # of 15 s, 2 of them margin: 0.2 s are left
    story.backend.gate.clear()
    with pytest.raises(DpucsiError, match="for which this one leads"):
        await asyncio.wait_for(story.restorer.restore(story.export), 5)
    story.backend.gate.set()


async def test_an_api_server_that_cannot_be_asked_means_no(kube: FakeKube, story: Story) -> None:
    await kube.stop()
    with pytest.raises(UnavailableError):
        await story.restorer.restore(story.export)
    assert story.backend.allowed == []


# What is restored


@pytest.mark.parametrize("shared", [True, False])
async def test_not_beside_another_generation_of_the_same_dpu(story: Story, shared: bool) -> None:
    """It was published again in the meantime, and the VolumeAttachment does not say so yet."""
    story.export = Export(NAME, story.volume_id, shared)
    newer = naming.hostnqn(story.dpu, naming.new_generation())
    await story.backend.grant(story.volume_id.uuid, lambda _: newer)
    with pytest.raises(FailedPreconditionError, match=newer):
        await story.restorer.restore(story.export)
    assert story.backend.volumes[story.volume_id.uuid].hosts == (newer,)


async def test_not_while_it_is_being_cut_off(story: Story) -> None:
    uuid = story.volume_id.uuid
    story.backend.volumes[uuid] = replace(story.backend.volumes[uuid], leaving=(story.hostnqn,))
    with pytest.raises(UnavailableError, match="being cut off"):
        await story.restorer.restore(story.export)
    assert story.backend.allowed == []


async def test_not_beside_another_node_unless_the_volume_is_shared(story: Story) -> None:
    other = naming.hostnqn(naming.volume_uuid(story.dpu, "other"), naming.new_generation())
    await story.backend.grant(story.volume_id.uuid, lambda _: other)
    with pytest.raises(FailedPreconditionError, match=other):
        await story.restorer.restore(story.export)
    await story.restorer.restore(Export(NAME, story.volume_id, shared=True))
    assert set(story.backend.volumes[story.volume_id.uuid].hosts) == {other, story.hostnqn}


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("not attached yet", {"status": {"attached": False}}),
        ("no status", {"status": {}}),
        ("of another driver", {"spec": {"attacher": "x", "source": {"persistentVolumeName": "pv-1"}, "nodeName": "n"}}),
        ("being deleted", {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    ],
)
async def test_what_does_not_stand_is_not_restored(kube: FakeKube, story: Story, what: str, parts: Any) -> None:
    await kube.change(ATTACHMENTS, NAME, **parts)
    await story.settle()
    assert story.backend.allowed == [], what


@pytest.mark.parametrize("metadata", [{}, {"hostnqn": "x"}])
async def test_metadata_that_is_not_ours_is_named(kube: FakeKube, story: Story, metadata: dict[str, str]) -> None:
    await kube.change(ATTACHMENTS, NAME, status={"attached": True, "attachmentMetadata": metadata})
    with pytest.raises(FailedPreconditionError, match=NAME):
        await story.restorer.restore(story.export)


async def test_metadata_of_another_volume_is_refused(kube: FakeKube, story: Story) -> None:
    other = naming.volume_uuid(story.dpu, "other")
    spec = AttachSpec(other, naming.subnqn(other), story.hostnqn, story.backend.paths, 1)
    metadata = publish_context.encode(spec)
    await kube.change(ATTACHMENTS, NAME, status={"attached": True, "attachmentMetadata": metadata})
    with pytest.raises(FailedPreconditionError, match=str(other)):
        await story.restorer.restore(story.export)
    assert story.backend.allowed == []


async def test_a_volume_that_is_not_loaded_yet(story: Story) -> None:
    kept = story.backend.volumes.pop(story.volume_id.uuid)
    with pytest.raises(NotFoundError):
        await story.restorer.restore(story.export)
    story.backend.volumes[story.volume_id.uuid] = kept
    await story.settle()
    assert kept.uuid in story.backend.volumes
    assert story.backend.volumes[kept.uuid].hosts == (story.hostnqn,)


# The checks above see what they are for: without one of the rules they fail.


class WithoutTheFreshRead(Restorer):
    """Rule (b) left out: believes what was cached before the lock."""

    cached: AttachSpec | None = None

    async def _recorded(self, export: Export) -> AttachSpec | None:
        if self.cached is not None:
            cached, self.cached = self.cached, None
            return cached
        return await super()._recorded(export)


class WithoutTheSecondLook(Restorer):
    """Rule (c) left out."""

    async def _take_back(self, export: Export, backend: StorageBackend) -> None:
        pass


async def test_a_restorer_without_the_fresh_read_is_caught(story: Story) -> None:
    mutant = WithoutTheFreshRead(story.cluster, story.leadership, {"pool-a": story.backend}, story.operations)
    mutant.cached = await story.restorer._recorded(story.export)
    story.reached.clear()
    story.restorer = mutant
    await story.run("start", story.detach_at_once)
    with pytest.raises(AssertionError, match="was allowed after its fence"):
        story.check_fence()


async def test_a_restorer_without_the_second_look_is_caught(story: Story) -> None:
    story.restorer = WithoutTheSecondLook(story.cluster, story.leadership, {"pool-a": story.backend}, story.operations)
    await story.run("grant asked", story.detach_elsewhere)
    with pytest.raises(AssertionError):
        story.check_end()
