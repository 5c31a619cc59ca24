"""The decisions, one table each."""

from dataclasses import replace

import pytest
from tests.unit.volume_attacher.lab import BOOT, EXCLUSIVE, NEXT_BOOT, SHARED, spec, volume

from dpucsi.errors import AlreadyExistsError, FailedPreconditionError
from volume_attacher.boots import REMEMBERED, Boots, after_reboot
from volume_attacher.plan import Observed, Step, check_release, plan, plan_attach, plan_detach
from volume_attacher.record import Record, State
from volume_attacher.slots import Placement, Slot

ME, OTHER = volume(1), volume(2)
SLOT = Slot(SHARED, 1)
CONNECTED = frozenset({ME})
NOWHERE = Observed()
IN_PLACE = Observed(CONNECTED, {SLOT: ME})
NO_NAMESPACE = Observed(CONNECTED, {})
NO_STORAGE = Observed(frozenset(), {SLOT: ME})
SOMEBODY_ELSE = Observed(CONNECTED, {SLOT: OTHER})
ELSEWHERE = Observed(CONNECTED, {Slot(SHARED, 2): ME})


def record(state: State = State.ATTACHED, boot: str = BOOT) -> Record:
    return Record(spec(1), Placement.SHARED, SLOT, state, boot)


@pytest.mark.parametrize(
    ("state", "observed", "paths_missing", "step"),
    [
        (State.ATTACHING, NOWHERE, False, Step.BRING_UP),
        (State.ATTACHING, IN_PLACE, False, Step.BRING_UP),  # looked at whole once: paths are not in a look
        (State.ATTACHED, IN_PLACE, False, Step.NOTHING),
        (State.ATTACHED, IN_PLACE, True, Step.BRING_UP),
        (State.ATTACHED, NOWHERE, False, Step.BRING_UP),
        (State.ATTACHED, NO_NAMESPACE, False, Step.BRING_UP),
        (State.ATTACHED, NO_STORAGE, False, Step.BRING_UP),
        (State.ATTACHED, SOMEBODY_ELSE, False, Step.BRING_UP),
        (State.ATTACHED, ELSEWHERE, False, Step.BRING_UP),
        (State.DETACHING, IN_PLACE, False, Step.TAKE_DOWN),
        (State.DETACHING, NOWHERE, False, Step.TAKE_DOWN),
        (State.UNCONFIRMED, NOWHERE, False, Step.NOTHING),
        (State.UNCONFIRMED, IN_PLACE, False, Step.TAKE_DOWN),
        (State.UNCONFIRMED, NO_NAMESPACE, False, Step.TAKE_DOWN),
        (State.UNCONFIRMED, Observed(frozenset(), {SLOT: OTHER}), False, Step.NOTHING),
    ],
)
def test_plan(state: State, observed: Observed, paths_missing: bool, step: Step) -> None:
    assert plan(record(state), observed, paths_missing) is step


def grown(size: int):
    return replace(spec(1), size_bytes=size)


@pytest.mark.parametrize(
    ("state", "asked", "placement", "wanted"),
    [
        (State.ATTACHING, spec(1), Placement.SHARED, None),
        (State.ATTACHED, spec(1), Placement.SHARED, None),
        (State.ATTACHED, grown(2 << 30), Placement.SHARED, None),
        (State.ATTACHED, grown(1), Placement.SHARED, AlreadyExistsError),
        (State.ATTACHED, spec(1), Placement.EXCLUSIVE, AlreadyExistsError),
        (State.ATTACHED, spec(1, addresses=("192.0.2.1", "192.0.2.2")), Placement.SHARED, AlreadyExistsError),
        (State.ATTACHED, replace(spec(1), subnqn="nqn.2024-01.org:other"), Placement.SHARED, AlreadyExistsError),
        (State.ATTACHED, spec(1, generation="00000009"), Placement.SHARED, FailedPreconditionError),
        (State.DETACHING, spec(1), Placement.SHARED, FailedPreconditionError),
        (State.UNCONFIRMED, spec(1), Placement.SHARED, FailedPreconditionError),
    ],
)
def test_plan_attach(state: State, asked, placement: Placement, wanted) -> None:
    if wanted is None:
        resumed = plan_attach(record(state), asked, placement, NEXT_BOOT)
        assert resumed == replace(record(state), spec=asked, boot_id=NEXT_BOOT)
        return
    with pytest.raises(wanted, match=str(ME)):
        plan_attach(record(state), asked, placement, BOOT)


def test_paths_in_another_order_are_the_same() -> None:
    two = ("192.0.2.1", "192.0.2.2")
    had = replace(record(), spec=spec(1, addresses=two))
    assert plan_attach(had, spec(1, addresses=two[::-1]), Placement.SHARED, BOOT) == had


@pytest.mark.parametrize("state", list(State))
def test_plan_detach_and_release(state: State) -> None:
    going = plan_detach(record(state), NEXT_BOOT)
    if state is State.UNCONFIRMED:
        assert going is None
        check_release(record(state))
        return
    assert going == replace(record(state), state=State.DETACHING, boot_id=NEXT_BOOT)
    with pytest.raises(FailedPreconditionError, match="before Release"):
        check_release(record(state))


def test_after_reboot() -> None:
    assert after_reboot(record(State.UNCONFIRMED), NEXT_BOOT) is None
    assert after_reboot(record(State.DETACHING), NEXT_BOOT) == record(State.DETACHING, NEXT_BOOT)
    assert after_reboot(record(State.ATTACHED), NEXT_BOOT) == record(State.ATTACHED)


def test_boots_follow_each_other_and_are_not_forgotten_soon() -> None:
    boots = Boots()
    for number in range(REMEMBERED + 1):
        boots = boots.seen(f"boot {number}").seen(f"boot {number}")
    assert Boots.from_bytes(boots.to_bytes()) == boots
    for number in range(REMEMBERED):
        with pytest.raises(FailedPreconditionError, match="rebooted since"):
            boots.seen(f"boot {number}")


@pytest.mark.parametrize("state", list(State))
def test_a_record_survives_the_disk_but_attached_has_to_be_seen_again(state: State) -> None:
    had = Record(spec(1), Placement.EXCLUSIVE, Slot(EXCLUSIVE, 1), state, BOOT)
    read = Record.from_bytes(had.to_bytes())
    assert read == replace(had, state=State.ATTACHING if state is State.ATTACHED else state)


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"spec": 1}', b'{"spec": {"paths": [{}]}}'])
def test_a_foreign_record_is_an_error_in_words(value: bytes) -> None:
    with pytest.raises(FailedPreconditionError, match="state file"):
        Record.from_bytes(value)
