"""Numbers of loop devices, on the machine's own ones."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dpucsi.errors import UnavailableError
from emulated_card import loop_numbers
from emulated_card.loop_numbers import make_loop, remove_loop

BEYOND = 1 << 20  # the first number that the kernel refuses


@pytest.fixture
def next_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Far away from the numbers of cards that may run beside this test."""
    file = tmp_path / "cards" / "next-loop"
    monkeypatch.setattr(loop_numbers, "NEXT", file)
    monkeypatch.setattr(loop_numbers, "FIRST", 700_000)
    yield file
    for entry in Path("/sys/block").glob("loop*"):
        number = int(entry.name.removeprefix("loop"))
        if number >= 700_000:
            remove_loop(number)


def test_a_number_is_not_given_again_after_its_device_is_gone(next_file: Path) -> None:
    first = make_loop()
    assert Path(f"/dev/loop{first}").is_block_device()
    assert remove_loop(first)
    assert not Path(f"/dev/loop{first}").exists()
    assert make_loop() == first + 1


def test_one_that_somebody_has_open_stays(next_file: Path) -> None:
    number = make_loop()
    held = os.open(f"/dev/loop{number}", os.O_RDONLY)
    try:
        assert not remove_loop(number)
    finally:
        os.close(held)
    assert remove_loop(number)
    assert remove_loop(number)  # long gone


def test_cards_beside_each_other_get_different_ones(next_file: Path) -> None:
    with ThreadPoolExecutor(4) as cards:
        given = list(cards.map(lambda _: make_loop(), range(16)))
    assert len(set(given)) == len(given)


def test_behind_the_last_one_it_begins_anew_and_passes_over_those_in_use(next_file: Path) -> None:
    assert [make_loop(), make_loop()] == [700_000, 700_001]
    next_file.write_text(f"{BEYOND}\n")
    assert make_loop() == 700_002


def test_a_kernel_that_has_none_is_said(next_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_numbers, "FIRST", BEYOND)
    with pytest.raises(UnavailableError, match="no loop device can be made"):
        make_loop()
