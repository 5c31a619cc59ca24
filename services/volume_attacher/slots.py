"""Where a volume goes: one slot is a function and a namespace id on it. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dpucsi.errors import ResourceExhaustedError
from dpucsi.model import HostFunction


class Placement(StrEnum):
    """How a volume is placed on a function."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


@dataclass(frozen=True, order=True)
class Slot:
    """Place of one volume."""

    function: HostFunction
    nsid: int

    def __str__(self) -> str:
        return f"{self.function} nsid {self.nsid}"


@dataclass(frozen=True)
class Functions:
    """The functions that the card may use, with their PCI addresses on the Host ("" where unknown)."""

    shared: Mapping[HostFunction, str]
    exclusive: Mapping[HostFunction, str]
    namespaces_per_function: int

    def pci_address(self, function: HostFunction) -> str:
        """Where the Host finds a function; "" where nobody told."""
        return self.shared.get(function) or self.exclusive.get(function) or ""

    def slots(self, placement: Placement) -> Iterator[Slot]:
        """Every slot of one placement, the lowest nsid first; nsid 1 of each shared function before any nsid 2."""
        if placement is Placement.EXCLUSIVE:
            yield from (Slot(function, 1) for function in self.exclusive)
            return
        for nsid in range(1, self.namespaces_per_function + 1):
            yield from (Slot(function, nsid) for function in self.shared)

    @property
    def countable(self) -> int:
        """How many volumes a scheduler may send here: of the kind that volumes have unless their class says otherwise.

        It knows no kinds, so those of the other one do not count: exclusive slots are no place for a shared volume.
        """
        kind = Placement.SHARED if self.shared else Placement.EXCLUSIVE
        return sum(1 for _ in self.slots(kind))

    def all_slots(self) -> set[Slot]:
        """Every slot there is."""
        return {slot for placement in Placement for slot in self.slots(placement)}


def choose(functions: Functions, placement: Placement, taken: Collection[Slot]) -> Slot:
    """The first slot that nobody has.

    `taken` holds the slots of all records, those whose release the Host has not confirmed among them, and those seen
    in use without a record. Raises ResourceExhaustedError.
    """
    for slot in functions.slots(placement):
        if slot not in taken:
            return slot
    total = sum(1 for _ in functions.slots(placement))
    raise ResourceExhaustedError(
        f"no {placement} slot is free: all {total} are taken or wait for the Host to confirm that their disk is gone; "
        "detach a volume, or give the attacher more functions"
    )
