"""Numbers and addresses that the Host sees."""

import json
from pathlib import Path

import pytest

from dpucsi.errors import OutOfRangeError
from dpucsi.model import HostFunction
from emulated_card.addresses import pci_address
from emulated_card.numbers import Numbers


def test_a_number_is_never_given_again_in_a_boot(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "numbers.json")
    assert [numbers.controller(), numbers.controller()] == [(0, 1), (1, 2)]
    assert [numbers.instance(), numbers.instance()] == [1, 2]
    again = Numbers(tmp_path / "numbers.json")
    assert (again.controller(), again.instance()) == ((2, 3), 3)


def test_another_boot_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    Numbers(file).controller()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "an earlier one"}))
    assert Numbers(file).controller() == (0, 1)


@pytest.mark.parametrize(
    ("function", "address"),
    [
        ("port0-pf0", "0000:3b:00.0"),
        ("port0-pf0-vf2", "0000:3b:00.2"),
        ("port0-pf1", "0000:3c:00.0"),
        ("port1-pf0-vf9", "0000:43:01.1"),
    ],
)
def test_addresses(function: str, address: str) -> None:
    assert pci_address(HostFunction.parse(function)) == address


def test_a_function_that_no_card_has() -> None:
    with pytest.raises(OutOfRangeError):
        pci_address(HostFunction(0, 8))
