"""What a function does next, and what becomes of its disks: tables."""

import pytest

from emulated_card.plan import Fate, Seen, Step, fate, give_up_at, plan


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Seen(), Step.REST),
        (Seen(has_socket=True), Step.CONNECT),
        (Seen(has_socket=True, has_session=True), Step.SHOW),
        (Seen(has_socket=True, has_session=True, is_shown=True), Step.SHOW),
        (Seen(has_socket=True, is_shown=True), Step.CONNECT),
        (Seen(has_socket=True, is_shown=True, is_overdue=True), Step.WITHDRAW),
        (Seen(is_shown=True), Step.REST),
        (Seen(is_shown=True, is_overdue=True), Step.WITHDRAW),
        (Seen(has_session=True, is_shown=True, is_cut=True), Step.WITHDRAW),
        (Seen(has_socket=True, has_session=True, is_cut=True), Step.WITHDRAW),
        (Seen(is_shown=True, is_cut=True), Step.WITHDRAW),
        (Seen(has_socket=True, has_session=True, is_shown=True, is_unplugged=True), Step.WITHDRAW),
        (Seen(has_socket=True, is_unplugged=True), Step.REST),
        (Seen(has_socket=True, has_session=True, is_shown=True, is_reset=True), Step.RESET),
        (Seen(has_socket=True, is_shown=True, is_reset=True), Step.CONNECT),
        (Seen(has_session=True, is_shown=True, is_reset=True, is_cut=True), Step.WITHDRAW),
    ],
)
def test_plan(seen: Seen, step: Step) -> None:
    assert plan(seen) == step


@pytest.mark.parametrize(
    ("is_waiting", "is_listed", "is_same", "is_overdue", "wanted"),
    [
        (False, True, True, False, Fate.KEEP),
        (False, True, True, True, Fate.KEEP),
        (True, True, True, True, Fate.KEEP),
        (False, True, False, False, Fate.WITHDRAW),
        (True, True, False, False, Fate.WITHDRAW),
        (False, False, False, False, Fate.WITHDRAW),
        (True, False, False, False, Fate.WAIT),
        (True, False, False, True, Fate.WITHDRAW),
    ],
)
def test_fate(is_waiting: bool, is_listed: bool, is_same: bool, is_overdue: bool, wanted: Fate) -> None:
    assert fate(is_waiting=is_waiting, is_listed=is_listed, is_same=is_same, is_overdue=is_overdue) == wanted


@pytest.mark.parametrize(
    ("missing_since", "served_at", "wanted"),
    [
        (None, None, None),
        (None, 99.0, None),  # before the loss
        (None, 101.0, 131.0),
        (102.0, None, 132.0),
        (102.0, 104.0, 132.0),
        (102.0, 99.0, 132.0),
    ],
)
def test_give_up_at(missing_since: float | None, served_at: float | None, wanted: float | None) -> None:
    found = give_up_at(lost_at=100.0, missing_since=missing_since, served_at=served_at, recovery_s=30.0)
    assert found == wanted
