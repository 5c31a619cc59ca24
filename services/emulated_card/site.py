"""What the functions of one card share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from emulated_card.controller import Connect
from emulated_card.numbers import Numbers
from emulated_card.tree import HostTree
from emulated_card.watch import Watch


@dataclass
class Site:
    """`files`: the folder of the files under the disks. `served_at`: when SPDK last began to serve a function."""

    tree: HostTree
    numbers: Numbers
    files: Path
    watch: Watch
    connect: Connect
    recovery_s: float
    served_at: float | None = None
    on_served: list[Callable[[], None]] = field(default_factory=list)

    def served(self, now: float) -> None:
        """SPDK is there, and serves another function."""
        self.served_at = now
        for call in self.on_served:
            call()
