"""The verbs and the reconciler over a fake OPI server on a real socket."""

import asyncio

import pytest
from tests.unit.volume_attacher.lab import BOOT, EXCLUSIVE, NEXT_BOOT, SHARED, Bench, volume

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2
from dpucsi.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from volume_attacher.record import State
from volume_attacher.slots import Placement, Slot

NAMESPACE = f"nvmeSubsystems/{SHARED}/nvmeNamespaces/vol-{volume(1)}"


async def test_attach_puts_the_volume_on_a_shared_function(bench: Bench) -> None:
    record = await bench.attach()
    assert record.slot == Slot(SHARED, 1)
    shown = bench.fake.objects[NAMESPACE].spec
    assert (shown.host_nsid, shown.uuid, shown.nguid) == (1, str(volume(1)), naming.nguid(volume(1)))
    assert shown.volume_name_ref == f"nvmeRemoteControllers/vol-{volume(1)}/nvmeRemoteNamespaces/1"
    (path,) = (bench.fake.objects[name] for name in bench.fake.names("nvmePaths"))
    assert (path.traddr, path.fabrics.hostnqn) == ("192.0.2.1", record.spec.hostnqn)
    assert bench.record(1).state is State.ATTACHED


async def test_an_attach_on_a_prepared_function_takes_four_calls_and_a_look(bench: Bench) -> None:
    await bench.dpu.ensure_function(SHARED)
    before = len(bench.fake.calls)
    await bench.attach()
    assert bench.fake.calls[before:] == [
        "GetNvmeRemoteController",
        "CreateNvmeRemoteController",
        "CreateNvmePath",
        "ListNvmeRemoteNamespaces",
        "CreateNvmeNamespace",
    ]


async def test_everything_back_leaves_nothing(bench: Bench) -> None:
    for placement, number in ((Placement.SHARED, 1), (Placement.EXCLUSIVE, 2)):
        await bench.attach(number, placement, addresses=("192.0.2.1", "192.0.2.2"))
        assert (await bench.detach(number)).slot.nsid == 1
        await bench.release(number)
    assert bench.leftovers() == []
    assert bench.dpu.table.all() == []


async def test_every_verb_may_be_repeated(bench: Bench) -> None:
    assert (await bench.attach()).slot == (await bench.attach()).slot
    objects = dict(bench.fake.objects)
    await bench.attach()
    assert bench.fake.objects == objects
    first, second = await bench.detach(), await bench.detach()
    assert first.slot == second.slot
    await bench.release()
    await bench.release()
    assert await bench.detach() is None


async def test_a_slot_is_not_used_again_before_release(bench: Bench) -> None:
    await bench.attach(1)
    await bench.detach(1)
    assert (await bench.attach(2)).slot.nsid == 2
    with pytest.raises(FailedPreconditionError, match="Release it"):
        await bench.attach(1)
    await bench.release(1)
    assert (await bench.attach(3)).slot.nsid == 1


async def test_release_comes_after_detach(bench: Bench) -> None:
    await bench.attach()
    with pytest.raises(FailedPreconditionError, match="Detach has to be OK before Release"):
        await bench.release()
    assert NAMESPACE in bench.fake.objects


async def test_a_new_boot_confirms_and_an_old_one_is_refused(bench: Bench) -> None:
    await bench.attach(1)
    await bench.attach(2)
    await bench.detach(1)
    assert (await bench.attach(3, boot=NEXT_BOOT)).slot.nsid == 1
    assert bench.dpu.table.get(volume(1)) is None
    assert bench.record(2).state is State.ATTACHED
    with pytest.raises(FailedPreconditionError, match="rebooted since"):
        await bench.detach(2, boot=BOOT)


async def test_a_removal_that_a_new_boot_may_have_seen_needs_its_word(bench: Bench) -> None:
    await bench.attach(1)
    await bench.fake.stop()
    with pytest.raises(UnavailableError):
        await bench.detach(1)
    await bench.dpu.table.see_boot(NEXT_BOOT)
    await bench.fake.start()
    await bench.dpu.opi.channel.channel_ready()
    await bench.detach(1, boot=NEXT_BOOT)
    assert bench.record(1).state is State.UNCONFIRMED
    assert bench.record(1).boot_id == NEXT_BOOT


async def test_boots_are_remembered_over_a_restart(bench: Bench) -> None:
    await bench.attach(1)
    await bench.attach(2, boot=NEXT_BOOT)
    await bench.dpu.opi.close()
    await bench.store.close()
    async with Bench.open(bench.fake, bench.folder) as again:
        with pytest.raises(FailedPreconditionError, match="rebooted since"):
            await again.attach(1, boot=BOOT)


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"generation": "00000002"}, FailedPreconditionError, "earlier publication"),
        ({"addresses": ("192.0.2.9",)}, AlreadyExistsError, "192.0.2.9"),
        ({"placement": Placement.EXCLUSIVE}, AlreadyExistsError, "wanted exclusive"),
    ],
)
async def test_another_attachment_of_the_same_volume_is_refused(bench: Bench, changed, error, says) -> None:
    await bench.attach()
    objects = dict(bench.fake.objects)
    with pytest.raises(error, match=says):
        await bench.attach(**changed)
    assert bench.fake.objects == objects


async def test_no_slot_left(bench: Bench) -> None:
    for number in range(4):
        await bench.attach(number)
    with pytest.raises(ResourceExhaustedError, match="all 4 are taken"):
        await bench.attach(4)
    await bench.attach(4, Placement.EXCLUSIVE)
    with pytest.raises(ResourceExhaustedError, match="no exclusive slot"):
        await bench.attach(5, Placement.EXCLUSIVE)


async def test_attach_at_once_gives_each_a_slot_of_its_own(bench: Bench) -> None:
    records = await asyncio.gather(*(bench.attach(number) for number in range(4)))
    assert sorted(record.slot.nsid for record in records) == [1, 2, 3, 4]


async def test_what_cannot_succeed_is_undone(bench: Bench) -> None:
    bench.fake.refused["192.0.2.1"] = InvalidArgumentError("this address is not for us")
    with pytest.raises(InvalidArgumentError):
        await bench.attach()
    assert bench.leftovers() == []
    assert bench.dpu.table.all() == []


async def test_what_may_succeed_later_is_resumed_in_the_same_slot(bench: Bench) -> None:
    bench.fake.refused["192.0.2.1"] = UnavailableError("no route")
    with pytest.raises(UnavailableError):
        await bench.attach(1)
    assert (await bench.attach(2, addresses=("192.0.2.2",))).slot.nsid == 2
    bench.fake.refused.clear()
    assert (await bench.attach(1)).slot.nsid == 1


async def test_an_unreachable_opi_server_leaves_no_record(bench: Bench) -> None:
    await bench.fake.stop()
    with pytest.raises(UnavailableError):
        await bench.attach()
    assert bench.dpu.table.all() == []


async def test_one_dead_path_of_two_does_not_keep_the_volume_away(bench: Bench) -> None:
    bench.fake.refused["192.0.2.2"] = UnavailableError("no route")
    await bench.attach(addresses=("192.0.2.1", "192.0.2.2"))
    assert len(bench.fake.names("nvmePaths")) == 1
    assert not await bench.reconciler().once()
    bench.fake.refused.clear()
    assert await bench.reconciler().once()
    assert len(bench.fake.names("nvmePaths")) == 2


async def test_the_wrong_volume_behind_the_target_never_reaches_the_host(bench: Bench, monkeypatch) -> None:
    monkeypatch.setattr("dpucsi.opi.remote.NAMESPACE_S", 0.05)
    bench.fake.shown[naming.subnqn(volume(1))] = volume(99)
    with pytest.raises(UnavailableError, match=str(volume(99))):
        await bench.attach()
    assert bench.fake.names("nvmeNamespaces") == []


async def test_a_foreign_object_under_our_name_is_named_and_kept(bench: Bench) -> None:
    await bench.dpu.ensure_function(SHARED)
    foreign = frontend_nvme_pb2.NvmeNamespace(name=NAMESPACE)
    foreign.spec.host_nsid = 7
    bench.fake.objects[NAMESPACE] = foreign
    with pytest.raises(FailedPreconditionError, match="host_nsid is 7, wanted 1"):
        await bench.attach()
    assert bench.fake.objects[NAMESPACE] is foreign


async def test_reconcile_brings_back_what_the_opi_server_lost(bench: Bench) -> None:
    await bench.attach(1)
    await bench.attach(2, Placement.EXCLUSIVE)
    objects = dict(bench.fake.objects)
    bench.fake.objects.clear()
    assert await bench.reconciler().once()
    assert bench.fake.objects == objects


async def test_reconcile_finishes_what_a_dead_process_began(bench: Bench) -> None:
    await bench.attach(1)
    await bench.attach(2)
    await bench.fake.stop()
    with pytest.raises(UnavailableError):
        await bench.detach(2)
    await bench.fake.start()
    await bench.dpu.opi.close()
    await bench.store.close()
    async with Bench.open(bench.fake, bench.folder) as again:
        assert await again.reconciler().once()
        states = {record.spec.uuid: record.state for record in again.dpu.table.all()}
        assert states == {volume(1): State.ATTACHED, volume(2): State.UNCONFIRMED}
        assert bench.fake.names("nvmeNamespaces") == [NAMESPACE]


async def test_reconcile_changes_nothing_when_all_is_well_and_costs_a_few_reads(bench: Bench) -> None:
    await bench.attach(1)
    before = len(bench.fake.calls)
    assert await bench.reconciler().once()
    assert set(bench.fake.calls[before:]) == {"ListNvmeRemoteControllers", "ListNvmeSubsystems", "ListNvmeNamespaces"}


async def test_strangers_are_left_alone_and_their_slots_too(bench: Bench) -> None:
    await bench.attach(1)
    await bench.dpu.table.erase(volume(1))  # a state file that was lost
    assert await bench.reconciler().once()
    assert NAMESPACE in bench.fake.objects
    assert (await bench.attach(2)).slot.nsid == 2
    assert (await bench.attach(1)).slot.nsid == 1  # the volume itself finds its place again


@pytest.mark.parametrize("placement", list(Placement))
async def test_a_lost_record_does_not_make_detach_a_silent_ok(bench: Bench, placement: Placement) -> None:
    had = await bench.attach(1, placement)
    await bench.dpu.table.erase(volume(1))
    going = await bench.detach(1)
    assert (going.slot, going.spec.paths, going.placement) == (had.slot, had.spec.paths, placement)
    assert bench.leftovers() == []
    assert bench.record(1).state is State.UNCONFIRMED
    await bench.release(1)
    assert await bench.detach(1) is None


async def test_a_lost_volume_that_was_never_on_a_function_needs_no_word(bench: Bench) -> None:
    await bench.attach(1)
    await bench.dpu.table.erase(volume(1))
    del bench.fake.objects[NAMESPACE]
    assert await bench.detach(1) is None
    assert bench.leftovers() == []


async def test_the_reconciler_wakes_when_the_opi_server_is_back(bench: Bench) -> None:
    await bench.attach(1)
    running = asyncio.create_task(bench.reconciler().run())
    await bench.fake.stop()
    bench.fake.objects.clear()
    await bench.fake.start()

    async def back() -> bool | None:
        return NAMESPACE in bench.fake.objects or None

    await wait_until(back, "namespace back", timeout_s=10)
    running.cancel()


async def test_a_caller_goes_before_the_reconciler(bench: Bench) -> None:
    await bench.attach(1)
    bench.fake.objects.clear()
    reconciler = bench.reconciler()
    held = bench.fake.hold(ahead=5)
    passing = asyncio.create_task(reconciler.once())
    await asyncio.wait_for(held.reached.wait(), 5)
    async with reconciler.hold(volume(1)):
        held.go.set()
        await bench.detach(1)
    await passing
    assert bench.leftovers() == []
    assert bench.record(1).state is State.UNCONFIRMED


async def test_an_exclusive_function_is_removed_with_its_volume(bench: Bench) -> None:
    record = await bench.attach(1, Placement.EXCLUSIVE)
    assert record.slot == Slot(EXCLUSIVE, 1)
    assert bench.fake.names("nvmeControllers") == [f"nvmeSubsystems/{EXCLUSIVE}/nvmeControllers/{EXCLUSIVE}"]
    await bench.detach(1)
    assert bench.fake.objects == {}
