"""What cards have in common whose controllers are listeners of SPDK's own NVMe-oF target.

A driver of this family says where the listener of a place is (`listen_address`) and clears the way (`make_room`,
`tidy_up`); the rest is here.
"""

from abc import ABC, abstractmethod

from dpucsi.dpus.contract import Placement
from dpucsi.errors import InvalidArgumentError, NotFoundError
from dpucsi.model import HostFunction
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.nvmf import Subsystem, nvmf_subsystem_add_listener, nvmf_subsystem_remove_listener


class ListenerDriver(ABC):
    """The DpuDriver contract over listeners; `trtype` is the SPDK transport of all of them."""

    survives_restart = False  # SPDK's target keeps nothing over a kill
    trtype: str

    def __init__(self, functions: tuple[HostFunction, ...]) -> None:
        self._functions = functions

    @abstractmethod
    def listen_address(self, placement: Placement) -> TransportAddress:
        """Where SPDK listens for the Host of this place. Raises InvalidArgumentError for a place of another kind."""

    async def make_room(self, address: TransportAddress) -> None:
        """Clears what an earlier process left at `address`, and prepares it."""
        return

    async def tidy_up(self, address: TransportAddress) -> None:
        """Removes what `make_room` made."""
        return

    def transports(self) -> tuple[str, ...]:
        """See DpuDriver."""
        return (self.trtype,)

    def functions(self) -> tuple[HostFunction, ...]:
        """See DpuDriver."""
        return self._functions

    def allowed_host(self) -> str:
        """See DpuDriver."""
        return ""

    def check(self, placement: Placement) -> None:
        """See DpuDriver."""
        if (placement.function is None) == (placement.address is None):
            raise InvalidArgumentError(
                f"a controller of {placement.subnqn} needs a PCIe function or an address, not both"
            )
        if placement.function is not None and self._functions and placement.function not in self._functions:
            raise NotFoundError(
                f"this DPU has no function {placement.function}; it has {', '.join(map(str, self._functions))}"
            )
        self.listen_address(placement)

    async def is_there(self, client: SpdkClient, subsystem: Subsystem, placement: Placement) -> bool:
        """See DpuDriver."""
        wanted = self.listen_address(placement)
        return any(same_address(address, wanted) for address in subsystem.listen_addresses)

    async def put(self, client: SpdkClient, placement: Placement) -> None:
        """See DpuDriver."""
        address = self.listen_address(placement)
        await self.make_room(address)
        await nvmf_subsystem_add_listener(client, nqn=placement.subnqn, address=address)

    async def take_away(self, client: SpdkClient, placement: Placement) -> None:
        """See DpuDriver."""
        address = self.listen_address(placement)
        await nvmf_subsystem_remove_listener(client, nqn=placement.subnqn, address=address)
        await self.tidy_up(address)


def same_address(one: TransportAddress, other: TransportAddress) -> bool:
    """Without the address family: SPDK shows "unknown" for a VFIOUSER listener that was given none."""
    return (one.trtype.upper(), one.traddr, one.trsvcid) == (other.trtype.upper(), other.traddr, other.trsvcid)
