"""The verbs over a fake kind: repetition, comparison, durability, and a death at every await."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from tests.unit.opi_bridge.fake_kind import (
    Desk,
    FakeKind,
    FakePreparation,
    FarSide,
    FirstActingKind,
    create_request,
)

from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.errors import (
    AlreadyExistsError,
    BusyError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from dpucsi.spdk import ConnectionLostError, Instance

NAME = "nvmeSubsystems/s1"
AWAITS = range(1, 14)  # a create has fewer


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "state.db", FarSide())
    yield desk
    await desk.close()


@pytest.fixture
async def first_acting(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "state.db", FarSide(), FirstActingKind)
    yield desk
    await desk.close()


async def test_create_is_repeatable_and_costs_nothing_the_second_time(desk: Desk) -> None:
    first = await desk.create()
    calls = list(desk.far.calls)
    assert await desk.create() == first
    assert (first.name, first.spec.serial_number, first.status.firmware_revision) == (NAME, "made", "up")
    assert (calls, desk.far.calls) == (["read", "make"], calls)


async def test_another_object_of_the_same_name(desk: Desk) -> None:
    await desk.create()
    with pytest.raises(AlreadyExistsError, match=r"spec\.nqn, spec\.model_number"):
        await desk.create(nqn="nqn.b", model_number="m")


async def test_another_name_for_what_there_can_be_once(desk: Desk) -> None:
    await desk.create()
    with pytest.raises(AlreadyExistsError, match=NAME):
        await desk.create("s2")
    assert desk.stored() == [NAME]


async def test_what_only_the_server_sets_is_ignored(desk: Desk) -> None:
    request = create_request("s1")
    request.nvme_subsystem.name = "nvmeSubsystems/other"
    request.nvme_subsystem.status.firmware_revision = "mine"
    assert (await desk.engine.create(desk.kind, request)).name == NAME
    assert (await desk.create()).name == NAME


async def test_an_id_is_made_up_where_none_is_given(desk: Desk) -> None:
    made = await desk.create("")
    assert made.name.startswith("nvmeSubsystems/x")


@pytest.mark.parametrize("resource_id", ["S1", "1s", "a/b", "a-", "x" * 64, "ä", " "])
async def test_malformed_id(desk: Desk, resource_id: str) -> None:
    with pytest.raises(InvalidArgumentError):
        await desk.create(resource_id)


async def test_required_fields(desk: Desk) -> None:
    with pytest.raises(InvalidArgumentError, match=r"nvme_subsystem\.spec\.nqn is required"):
        await desk.create(nqn="")
    with pytest.raises(InvalidArgumentError, match="nvme_subsystem is required"):
        await desk.engine.create(desk.kind, pb.CreateNvmeSubsystemRequest())
    with pytest.raises(InvalidArgumentError, match="name is required"):
        await desk.engine.get(desk.kind, pb.GetNvmeSubsystemRequest())


async def test_nothing_is_stored_for_what_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidArgumentError):
        await desk.create(nqn="bad")
    assert (desk.stored(), desk.far.calls) == ([], [])


async def test_refused_and_proven_absent_leaves_no_record(desk: Desk) -> None:
    desk.far.before["make"] = FailedPreconditionError("no")
    with pytest.raises(FailedPreconditionError, match="no"):
        await desk.create()
    assert (desk.stored(), desk.objects.find(NAME)) == ([], None)
    await desk.create()


async def test_refused_but_there_nevertheless(desk: Desk) -> None:
    desk.far.after["make"] = FailedPreconditionError("File exists, perhaps")
    await desk.create()
    assert desk.far.calls == ["read", "make", "read"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_unknown_outcome_keeps_the_record(desk: Desk, when: str) -> None:
    getattr(desk.far, when)["make"] = ConnectionLostError("gone")
    with pytest.raises(UnavailableError):
        await desk.create()
    assert desk.stored() == [NAME]
    await desk.create()
    assert desk.far.serials == {"nqn.a": "made"}
    await desk.delete()
    assert (desk.far.serials, desk.stored()) == ({}, [])


async def test_unreachable_before_anything_was_made(desk: Desk) -> None:
    desk.far.before["read"] = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await desk.create()
    assert desk.stored() == []


async def test_nothing_is_made_in_a_process_that_was_not_looked_at(desk: Desk) -> None:
    desk.kind.check_before = lambda *_: desk.far.restart()  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        await desk.create()
    assert (desk.far.calls, desk.far.serials) == (["read"], {})


async def test_something_else_in_its_place_is_left_alone(desk: Desk) -> None:
    desk.far.serials["nqn.a"] = "foreign"
    with pytest.raises(FailedPreconditionError, match="foreign"):
        await desk.create()
    assert (desk.far.serials, desk.stored()) == ({"nqn.a": "foreign"}, [])


async def test_a_kind_that_acts_first_saves_the_look(first_acting: Desk) -> None:
    assert (await first_acting.create()).status.firmware_revision == "up"
    assert first_acting.far.calls == ["make"]


async def test_acting_first_finds_what_was_there_as_wanted(first_acting: Desk) -> None:
    first_acting.far.serials["nqn.a"] = "made"
    await first_acting.create()
    assert (first_acting.far.calls, first_acting.stored()) == (["make", "read"], [NAME])


async def test_acting_first_leaves_something_else_alone(first_acting: Desk) -> None:
    first_acting.far.serials["nqn.a"] = "foreign"
    with pytest.raises(FailedPreconditionError, match="foreign"):
        await first_acting.create()
    assert (first_acting.far.serials, first_acting.stored()) == ({"nqn.a": "foreign"}, [])


async def test_acting_first_keeps_the_record_where_the_look_fails(first_acting: Desk) -> None:
    first_acting.far.after["make"] = FailedPreconditionError("no")
    first_acting.far.before["read"] = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await first_acting.create()
    assert first_acting.stored() == [NAME]
    await first_acting.delete()
    assert (first_acting.far.serials, first_acting.stored()) == ({}, [])


async def test_delete_acts_at_once_on_what_it_made(desk: Desk) -> None:
    await desk.create()
    desk.far.calls.clear()
    await desk.delete()
    assert (desk.far.calls, desk.stored()) == (["unmake"], [])


async def test_delete_in_another_spdk_process_looks_first(desk: Desk) -> None:
    await desk.create()
    desk.far.restart()
    desk.far.calls.clear()
    await desk.delete()
    assert desk.far.calls == ["read"]


async def test_nothing_is_removed_in_a_process_that_was_not_looked_at(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.create()
    prepared = desk.far.instance

    async def done(_: object) -> Instance:
        desk.far.restart()
        return prepared

    monkeypatch.setattr(FakePreparation, "done", done)
    desk.far.calls.clear()
    with pytest.raises(UnavailableError):
        await desk.delete()
    assert (desk.far.calls, desk.stored()) == ([], [NAME])


async def test_failed_delete_keeps_the_object(desk: Desk) -> None:
    await desk.create()
    desk.far.before["unmake"] = FailedPreconditionError("busy")
    with pytest.raises(FailedPreconditionError, match="busy"):
        await desk.delete()
    assert desk.stored() == [NAME]
    await desk.delete()
    assert desk.far.serials == {}


async def test_missing(desk: Desk) -> None:
    with pytest.raises(NotFoundError, match=NAME):
        await desk.delete()
    await desk.delete(allow_missing=True)
    with pytest.raises(NotFoundError, match=NAME):
        await desk.engine.get(desk.kind, pb.GetNvmeSubsystemRequest(name=NAME))
    with pytest.raises(InvalidArgumentError):
        await desk.engine.get(desk.kind, pb.GetNvmeSubsystemRequest(name="nvmeSubsystems/a/b"))


async def test_second_call_for_the_same_object(desk: Desk) -> None:
    first = asyncio.create_task(desk.create())
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match=NAME):
        await desk.create()
    await first


async def test_get_shows_what_works_now(desk: Desk) -> None:
    await desk.create()
    request = pb.GetNvmeSubsystemRequest(name=NAME)
    assert (await desk.engine.get(desk.kind, request)).status.firmware_revision == "up"
    desk.far.serials.clear()
    assert (await desk.engine.get(desk.kind, request)).status.firmware_revision == "down"
    desk.far.before["read"] = UnavailableError("away")
    assert (await desk.engine.get(desk.kind, request)).status.firmware_revision == "down"


async def update(desk: Desk, *paths: str, allow_missing: bool = False, **spec: Any) -> pb.NvmeSubsystem:
    subsystem = pb.NvmeSubsystem(name=NAME, spec=pb.NvmeSubsystemSpec(**spec))
    mask = FieldMask(paths=paths)
    request = pb.UpdateNvmeSubsystemRequest(nvme_subsystem=subsystem, update_mask=mask, allow_missing=allow_missing)
    return await desk.engine.update(desk.kind, request)


async def test_update(desk: Desk) -> None:
    await desk.create()
    assert (await update(desk, "spec.model_number", model_number="m")).spec.model_number == "m"
    assert (await update(desk, model_number="n")).spec.model_number == "n"
    assert (await update(desk, "*", nqn="nqn.a", model_number="o")).spec.model_number == "o"
    assert (await desk.create(model_number="o")).spec.model_number == "o"


@pytest.mark.parametrize("path", ["nope", "spec.nope", "status", "name", "spec.nqn.deeper"])
async def test_update_of_what_is_no_field_to_write(desk: Desk, path: str) -> None:
    await desk.create()
    with pytest.raises(InvalidArgumentError, match="update_mask"):
        await update(desk, path, nqn="nqn.a")


async def test_update_of_what_is_fixed(desk: Desk) -> None:
    await desk.create()
    with pytest.raises(UnimplementedError, match=r"spec\.nqn"):
        await update(desk, "spec.nqn", nqn="nqn.b")
    with pytest.raises(InvalidArgumentError, match="required"):
        await update(desk, "spec.nqn")


async def test_update_of_what_is_not_there(desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        await update(desk, nqn="nqn.a")
    assert (await update(desk, nqn="nqn.a", allow_missing=True)).name == NAME
    assert desk.far.serials == {"nqn.a": "made"}


async def listed(desk: Desk, size: int = 0, token: str = "") -> tuple[list[str], str]:
    request = pb.ListNvmeSubsystemsRequest(page_size=size, page_token=token)
    page = await desk.engine.page(desk.kind, request, pb.ListNvmeSubsystemsResponse())
    return [subsystem.name[-2:] for subsystem in page.nvme_subsystems], page.next_page_token


@pytest.fixture
def _snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(client: object) -> None:
        return None

    monkeypatch.setattr("opi_bridge.views.Snapshot.take", take)


@pytest.mark.usefixtures("_snapshots")
async def test_pages(desk: Desk) -> None:
    for number in range(5):
        await desk.create(f"s{number}", nqn=f"nqn.{number}")
    first, token = await listed(desk, 2)
    await desk.delete("s1")
    second, last = await listed(desk, 2, token)
    third, end = await listed(desk, 2, last)
    assert (first, second, third, end) == (["s0", "s1"], ["s2", "s3"], ["s4"], "")


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (0, "nonsense"), (0, "AAAA"), (0, "A" * 16), (0, "é")])
async def test_page_that_cannot_be(desk: Desk, size: int, token: str) -> None:
    with pytest.raises(InvalidArgumentError, match="page_"):
        await listed(desk, size, token)


@pytest.mark.parametrize("awaits", AWAITS)
@pytest.mark.parametrize("verb", ["create", "delete"])
@pytest.mark.parametrize("kind", [FakeKind, FirstActingKind])
async def test_death_at_every_await(tmp_path: Path, kind: type[FakeKind], verb: str, awaits: int) -> None:
    """The next life on the same state file: the repeated call ends as if nothing had happened."""
    far = FarSide()
    life = Desk(tmp_path / "state.db", far, kind)
    if verb == "delete":
        await life.create()
    await _die_after(_verb(life, verb), awaits)
    await life.records.close()

    life = Desk(tmp_path / "state.db", far, kind)
    if far.serials and verb == "create":
        assert life.stored() == [NAME], "made without a record"
    if verb == "create":
        await life.create()
        assert (far.serials, life.stored()) == ({"nqn.a": "made"}, [NAME])
    await life.delete(allow_missing=True)
    assert (far.serials, life.stored()) == ({}, [])
    await life.close()


def _verb(life: Desk, verb: str) -> "asyncio.Task[object]":
    """The operation itself, without the shield that lets it outlive its caller."""
    if verb == "create":
        asked = create_request("s1").nvme_subsystem
        return asyncio.ensure_future(life.engine._create(life.kind, NAME, asked))
    return asyncio.ensure_future(life.engine._delete(life.objects.get(NAME)))


async def _die_after(work: "asyncio.Task[object]", awaits: int) -> None:
    for _ in range(awaits):
        if work.done():
            return
        await asyncio.sleep(0)
    if awaits > 5:  # and the commits, which take a thread's time
        await asyncio.wait([work], timeout=0.002 * (awaits - 5))
    work.cancel()
    await asyncio.wait([work])
