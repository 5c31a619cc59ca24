"""What the card is told: the whole wanted look of one PCIe function at a time. The same again changes nothing."""

from dataclasses import dataclass
from typing import Protocol

from dpucsi.model import HostFunction


@dataclass(frozen=True)
class NamespaceView:
    """One namespace; `path` is the file or device with its bytes, `nguid` 32 lower-case hex digits."""

    nsid: int
    uuid: str
    nguid: str
    path: str
    block_size: int
    num_blocks: int
    is_read_only: bool


@dataclass(frozen=True)
class ControllerView:
    """One NVMe controller on a function."""

    subnqn: str
    serial_number: str
    model_number: str
    cntlid: int
    namespaces: tuple[NamespaceView, ...]


class Card(Protocol):
    """The front end of the machine that the emulator is in."""

    def show(self, function: HostFunction, view: ControllerView | None) -> None:
        """From now on `function` looks like `view`; None: there is nothing on it. Returns at once."""
