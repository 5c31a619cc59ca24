"""Slots: no two volumes ever share one, and an unconfirmed one is never given out."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.volume_attacher.lab import EXCLUSIVE, FUNCTIONS, SHARED, spec

from dpucsi.errors import AlreadyExistsError, FailedPreconditionError, ResourceExhaustedError
from dpucsi.model import HostFunction
from volume_attacher.boots import Boots, after_reboot
from volume_attacher.plan import check_release, plan_attach, plan_detach
from volume_attacher.record import Record, State
from volume_attacher.slots import Functions, Placement, Slot, choose

TWO = Functions({HostFunction(0, 0): "", HostFunction(0, 1): ""}, {}, namespaces_per_function=2)
PF0, PF1 = HostFunction(0, 0), HostFunction(0, 1)


@pytest.mark.parametrize(
    ("functions", "placement", "taken", "slot"),
    [
        (FUNCTIONS, Placement.SHARED, set(), Slot(SHARED, 1)),
        (FUNCTIONS, Placement.SHARED, {Slot(SHARED, 1), Slot(SHARED, 3)}, Slot(SHARED, 2)),
        (FUNCTIONS, Placement.EXCLUSIVE, {Slot(SHARED, 1)}, Slot(EXCLUSIVE, 1)),
        (TWO, Placement.SHARED, {Slot(PF0, 1)}, Slot(PF1, 1)),
        (TWO, Placement.SHARED, {Slot(PF0, 1), Slot(PF1, 1)}, Slot(PF0, 2)),
    ],
)
def test_choose(functions: Functions, placement: Placement, taken: set[Slot], slot: Slot) -> None:
    assert choose(functions, placement, taken) == slot


@pytest.mark.parametrize("placement", list(Placement))
def test_none_left(placement: Placement) -> None:
    with pytest.raises(ResourceExhaustedError, match=f"no {placement} slot is free"):
        choose(FUNCTIONS, placement, FUNCTIONS.all_slots())


VOLUMES = st.integers(0, 7)


class Attachments(RuleBasedStateMachine):
    """The decisions alone, in any order that a Host, a CO and reboots may bring."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[int, Record] = {}
        self.boots = Boots().seen("boot 0")
        self.count = 0
        self.held: dict[Slot, int] = {}  # what the Host may still hold: slot -> volume

    @rule(number=VOLUMES, placement=st.sampled_from(Placement))
    def attach(self, number: int, placement: Placement) -> None:
        record = self.records.get(number)
        try:
            if record is not None:
                self.records[number] = plan_attach(record, spec(number), placement, self.boots.current)
                return
            slot = choose(FUNCTIONS, placement, {record.slot for record in self.records.values()})
        except (ResourceExhaustedError, FailedPreconditionError, AlreadyExistsError):
            return
        assert slot not in self.held, "the Host may still hold another volume's device there"
        self.held[slot] = number
        self.records[number] = Record(spec(number), placement, slot, State.ATTACHING, self.boots.current)

    @rule(number=VOLUMES, done=st.booleans())
    def detach(self, number: int, done: bool) -> None:
        record = self.records.get(number)
        going = plan_detach(record, self.boots.current) if record else None
        if going is not None:
            state = State.UNCONFIRMED if done else State.DETACHING
            self.records[number] = Record(going.spec, going.placement, going.slot, state, going.boot_id)

    @rule(number=VOLUMES)
    def release(self, number: int) -> None:
        record = self.records.get(number)
        try:
            if record is not None:
                check_release(record)
                del self.held[self.records.pop(number).slot]
        except FailedPreconditionError:
            assert record is not None
            assert record.state is not State.UNCONFIRMED

    @rule()
    def reboot(self) -> None:
        self.count += 1
        self.boots = self.boots.seen(f"boot {self.count}")
        after = {number: after_reboot(record, self.boots.current) for number, record in self.records.items()}
        self.records = {number: record for number, record in after.items() if record is not None}
        self.held = {slot: number for slot, number in self.held.items() if number in self.records}

    @invariant()
    def no_slot_is_shared(self) -> None:
        slots = [record.slot for record in self.records.values()]
        assert len(slots) == len(set(slots))
        assert set(slots) <= FUNCTIONS.all_slots()
        assert all(self.held[record.slot] == number for number, record in self.records.items())


TestAttachments = Attachments.TestCase
