"""A Host that comes back after its volumes were taken from it: what is left of them at the DPU, and here."""

import subprocess

import pytest
from tests.unit.csi_node_host.rig import OTHER, Rig, mounts_under

from csi_node_host.record import State
from dpucsi.errors import FailedPreconditionError, UnavailableError
from dpucsi.mount.decide import History

GIVEN_BACK = ["Detach", "Release"]


async def reboot(rig: Rig, *, lose_state: bool = False) -> None:
    for path in reversed(mounts_under(rig.root)):
        subprocess.run(["umount", path], check=True)
    await rig.restart("boot-2", lose_state=lose_state)


def calls(rig: Rig) -> list[str]:
    called: list[str] = []
    rig.dpu.on_call = called.append
    return called


async def staged_with_data(rig: Rig) -> None:
    await rig.stage()
    await rig.publish()
    (rig.target / "greeting").write_text("hello")


async def test_kubelet_finds_its_traces_after_a_reboot(rig: Rig) -> None:
    await staged_with_data(rig)
    await reboot(rig)
    await rig.unpublish()
    await rig.unstage()
    assert not rig.target.exists()
    assert rig.record() is None and rig.dpu.attached == {}


@pytest.mark.parametrize("lose_state", [False, True])
async def test_a_new_publication_after_a_reboot_replaces_the_dead_attachment(rig: Rig, lose_state: bool) -> None:
    await staged_with_data(rig)
    await reboot(rig, lose_state=lose_state)
    called = calls(rig)
    await rig.stage(publication="nqn:2")
    assert [call for call in called if call != "ListAttachments"][-3:] == [*GIVEN_BACK, "Attach"]
    assert [plugged.hostnqn for plugged in rig.dpu.attached.values()] == ["nqn:2"]
    assert (rig.staging / "greeting").read_text() == "hello"
    assert rig.record().publication == "nqn:2"
    await rig.unstage()


async def test_the_same_publication_after_a_reboot_resumes(rig: Rig) -> None:
    await staged_with_data(rig)
    await reboot(rig)
    called = calls(rig)
    await rig.stage()
    assert called == ["Attach"]
    await rig.unstage()


async def test_what_is_staged_for_an_earlier_publication_is_not_staged(rig: Rig) -> None:
    """The Host lived on, cut off from its cluster: its mount is of a path that will never work again."""
    await rig.stage()
    (rig.staging / "greeting").write_text("hello")
    await rig.stage(publication="nqn:2")
    assert [plugged.hostnqn for plugged in rig.dpu.attached.values()] == ["nqn:2"]
    assert (rig.staging / "greeting").read_text() == "hello"
    await rig.unstage()


async def test_a_pod_that_still_has_it_is_not_robbed(rig: Rig) -> None:
    await staged_with_data(rig)
    called = calls(rig)
    with pytest.raises(FailedPreconditionError, match=f"still in use at {rig.target}"):
        await rig.stage(publication="nqn:2")
    assert called == []
    assert (rig.target / "greeting").read_text() == "hello"
    await rig.unpublish()
    await rig.stage(publication="nqn:2")
    await rig.unstage()


async def test_a_mount_that_no_record_tells_of_is_not_robbed(rig: Rig) -> None:
    await rig.stage()
    await rig.restart(lose_state=True)
    with pytest.raises(FailedPreconditionError, match=f"in use at {rig.staging}"):
        await rig.stage(publication="nqn:2")
    assert mounts_under(rig.root) == [str(rig.staging)]
    await rig.unstage()


async def test_a_record_of_an_older_release_does_not_say_its_publication(rig: Rig) -> None:
    await rig.stage(publication="")
    called = calls(rig)
    await rig.stage(publication="")
    assert called == []
    await rig.unstage()


@pytest.mark.parametrize("lose_state", [False, True])
async def test_what_nobody_asks_for_after_a_reboot_is_given_back(rig: Rig, lose_state: bool) -> None:
    await staged_with_data(rig)
    await rig.forgotten.once()
    assert len(rig.dpu.attached) == 1, "it is used in this very boot"
    await reboot(rig, lose_state=lose_state)
    await rig.forgotten.once()
    assert rig.dpu.attached == {} and rig.record() is None
    await rig.unstage()  # late, and fine
    await rig.stage(publication="nqn:2")
    assert (rig.staging / "greeting").read_text() == "hello"
    await rig.unstage()


async def test_what_was_staged_again_after_a_reboot_stays(rig: Rig) -> None:
    await staged_with_data(rig)
    await reboot(rig)
    await rig.stage()
    await rig.forgotten.once()
    assert rig.record().state is State.STAGED and rig.record().history is History.FORMATTED
    assert mounts_under(rig.root) == [str(rig.staging)]
    await rig.unstage()


async def test_a_disk_that_somebody_mounted_in_the_new_boot_stays(rig: Rig) -> None:
    await rig.stage()
    await reboot(rig, lose_state=True)
    node = rig.tree.dev / next(iter(rig.dpu.attached.values())).name
    subprocess.run(["mount", node, rig.staging], check=True)
    await rig.forgotten.once()
    assert len(rig.dpu.attached) == 1
    subprocess.run(["umount", rig.staging], check=True)
    await rig.forgotten.once()
    assert rig.dpu.attached == {}


async def test_a_slot_that_waits_for_a_word_nobody_will_say(rig: Rig) -> None:
    """The Host's record went between Detach and Release."""
    await rig.stage()

    def cut(name: str) -> None:
        if name == "Release":
            raise UnavailableError("cut")

    rig.dpu.on_call = cut
    with pytest.raises(UnavailableError):
        await rig.unstage()
    rig.dpu.on_call = lambda name: None
    await rig.forgotten.once()
    assert len(rig.dpu.attached) == 1, "its record says that an unstage is under way"
    await rig.restart(lose_state=True)
    await rig.forgotten.once()
    assert rig.dpu.attached == {}


async def test_one_that_fails_does_not_hold_up_the_others(rig: Rig) -> None:
    await rig.stage()
    await rig.stage(volume=OTHER, path=_second(rig))
    await reboot(rig)
    failed = False

    def once(name: str) -> None:
        nonlocal failed
        if name == "Detach" and not failed:
            failed = True
            raise UnavailableError("SPDK is away")

    rig.dpu.on_call = once
    await rig.forgotten.once()
    assert len(rig.dpu.attached) == 1
    await rig.forgotten.once()
    assert rig.dpu.attached == {}


async def test_a_dpu_that_is_away_is_asked_again(rig: Rig) -> None:
    await rig.stage()
    await reboot(rig)

    def away(name: str) -> None:
        raise UnavailableError("nobody there")

    rig.dpu.on_call = away
    await rig.forgotten.once()
    rig.dpu.on_call = lambda name: None
    await rig.forgotten.once()
    assert rig.dpu.attached == {}


def _second(rig: Rig):
    path = rig.root / "second"
    path.mkdir()
    return path


# --- what kubelet forgot between unpublish and unstage


async def test_what_is_not_published_any_more_is_unstaged_at_the_second_look(rig: Rig) -> None:
    await staged_with_data(rig)
    await rig.unpublish()
    rig.published = lambda volume_id: False
    await rig.forgotten.once()
    assert len(rig.dpu.attached) == 1, "one look may come just before kubelet"
    await rig.forgotten.once()
    assert rig.dpu.attached == {} and rig.record() is None and mounts_under(rig.root) == []
    await rig.unstage()  # late, and fine


async def test_what_is_published_again_between_the_looks_stays(rig: Rig) -> None:
    await rig.stage()
    answers = iter([False, True, False])
    rig.published = lambda volume_id: next(answers)
    for _ in range(3):
        await rig.forgotten.once()
    assert rig.record().state is State.STAGED and mounts_under(rig.root) == [str(rig.staging)]
    await rig.unstage()


async def test_what_is_published_again_after_the_second_look_stays(rig: Rig) -> None:
    """It is asked once more under the volume's lock."""
    await rig.stage()
    answers = iter([False, False, True])
    rig.published = lambda volume_id: next(answers)
    for _ in range(2):
        await rig.forgotten.once()
    assert rig.record().state is State.STAGED and len(rig.dpu.attached) == 1
    await rig.unstage()


async def test_a_pod_that_has_an_unpublished_volume_is_not_robbed(rig: Rig) -> None:
    await staged_with_data(rig)
    rig.published = lambda volume_id: False
    for _ in range(3):
        await rig.forgotten.once()
    assert (rig.target / "greeting").read_text() == "hello"
    assert len(rig.dpu.attached) == 1
    await rig.unpublish()
    await rig.forgotten.once()
    assert rig.dpu.attached == {}


async def test_an_api_server_that_is_away_says_nothing(rig: Rig) -> None:
    def away(volume_id) -> bool:
        raise UnavailableError("no API server")

    await rig.stage()
    rig.published = away
    for _ in range(3):
        await rig.forgotten.once()
    assert rig.record().state is State.STAGED
    await rig.unstage()
