"""What a DPU driver is: how this card puts an NVMe controller on a function that its Host sees.

A driver is a class registered under the entry point group `dpucsi.dpu_drivers`; opi-bridge makes one object of it with
`from_options` and keeps it for as long as it runs. A driver keeps no state of its own: opi-bridge remembers what is
wanted, SPDK and the card say what is. `dpucsi.testing.dpu_conformance` checks a driver against all of this.

Every method raises `dpucsi.errors` only. `InvalidArgumentError`: this card can never do that. `SpdkError`: SPDK
refused, in which case the caller reads the state again and decides by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from dpucsi.model import HostFunction
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.nvmf import Subsystem

ENTRY_POINT_GROUP = "dpucsi.dpu_drivers"


@dataclass(frozen=True)
class Placement:
    """Where a controller of the subsystem `subnqn` goes: a PCIe function or a fabrics address, exactly one of them."""

    subnqn: str
    function: HostFunction | None = None
    address: TransportAddress | None = None

    def __str__(self) -> str:
        if self.address is None:
            return f"function {self.function}"
        return f"{self.address.trtype} address {self.address.traddr}:{self.address.trsvcid}"


class DpuDriver(Protocol):
    """One kind of card."""

    survives_restart: bool
    """Whether a controller stays on its function, with its namespaces, while SPDK is killed and started again."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """A driver as `--driver-option key=value` says; InvalidArgumentError for an unknown, missing or wrong one."""
        ...

    def transports(self) -> tuple[str, ...]:
        """SPDK transports (nvmf_create_transport's `trtype`) that must exist before a controller is put anywhere."""
        ...

    def functions(self) -> tuple[HostFunction, ...]:
        """The functions that this card has, in order; () where any function may be named."""
        ...

    def allowed_host(self) -> str:
        """The host NQN that subsystems allow when the request names none; "" lets any host in.

        Behind a PCIe function there is only ever one Host, so those drivers return "".
        """
        ...

    def check(self, placement: Placement) -> None:
        """Raises InvalidArgumentError or NotFoundError where this card has no such place. Touches nothing."""
        ...

    async def is_there(self, client: SpdkClient, subsystem: Subsystem, placement: Placement) -> bool:
        """Whether the controller is on its place now; `subsystem` is what SPDK has just said of it."""
        ...

    async def put(self, client: SpdkClient, placement: Placement) -> None:
        """Puts the controller there. Called only while it is not there; what a crash left behind is cleared first."""
        ...

    async def take_away(self, client: SpdkClient, placement: Placement) -> None:
        """Takes the controller away and leaves nothing behind. Where it was not there SPDK may refuse; that is fine."""
        ...
