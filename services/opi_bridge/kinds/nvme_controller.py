"""NvmeController: a subsystem on a function of the DPU, put there by the DPU driver."""

from collections.abc import Iterable
from dataclasses import dataclass

from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.dpus import DpuDriver, Placement
from dpucsi.errors import InvalidArgumentError, UnimplementedError
from dpucsi.model import HostFunction
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.nvmf import Subsystem
from opi_bridge.kind import Kind, View
from opi_bridge.kinds.nvme_path import FAMILIES, TRANSPORTS
from opi_bridge.names import parent_of
from opi_bridge.objects import Objects

_NOT_OFFERED = ("nvme_controller_id", "max_nsq", "max_ncq", "sqes", "cqes", "max_namespaces", "min_limit", "max_limit")


@dataclass(frozen=True)
class Seen:
    """Whether the driver sees the controller on its place; `subsystem` is None where even that is not there."""

    subsystem: Subsystem | None
    is_there: bool


class ControllerKind(Kind[pb.NvmeController, Seen]):
    """Where it goes is `pcie_id` or `fabrics_id`; how, the driver knows."""

    message = pb.NvmeController

    def __init__(self, client: SpdkClient, objects: Objects, driver: DpuDriver) -> None:
        self._client = client
        self._objects = objects
        self._driver = driver

    def complete(self, name: str, resource: pb.NvmeController, objects: Objects) -> None:
        """Refuses places that this card has not, and options that SPDK sets for a whole transport."""
        set_fields = {field.name for field, _ in resource.spec.ListFields()}
        refused = [field for field in _NOT_OFFERED if field in set_fields]
        if refused:
            raise UnimplementedError(f"spec.{', spec.'.join(refused)} of {name} is not offered; leave it unset")
        self._driver.check(self._placement(name, resource))

    def keys(self, name: str, resource: pb.NvmeController) -> Iterable[str]:
        """A function carries one controller."""
        return (f"the {self._placement(name, resource)}",)

    def first(self, name: str, resource: pb.NvmeController, objects: Objects) -> Iterable[Iterable[str]]:
        """Its namespaces, so that the Host finds it whole."""
        parent = parent_of(name)
        beside = [other for other in objects.dependents(parent) if objects.get(other).kind is not self]
        return [[parent], *([other] for other in beside)]

    async def read(self, name: str, resource: pb.NvmeController, view: View) -> Seen:
        """What SPDK and the driver say."""
        placement = self._placement(name, resource)
        subsystem = await view.subsystem(placement.subnqn)
        if subsystem is None:
            return Seen(None, False)
        return Seen(subsystem, await self._driver.is_there(self._client, subsystem, placement))

    def is_so(self, resource: pb.NvmeController, seen: Seen) -> bool:
        """On its place."""
        return seen.is_there

    def is_gone(self, resource: pb.NvmeController, seen: Seen) -> bool:
        """Not on its place."""
        return not seen.is_there

    async def make(self, name: str, resource: pb.NvmeController, seen: Seen) -> None:
        """Puts it there."""
        await self._driver.put(self._client, self._placement(name, resource))

    async def unmake(self, name: str, resource: pb.NvmeController) -> None:
        """Takes it away."""
        await self._driver.take_away(self._client, self._placement(name, resource))

    def show(self, resource: pb.NvmeController, up: bool) -> None:
        """Active: the Host can see it."""
        resource.status.active = up

    def _placement(self, name: str, resource: pb.NvmeController) -> Placement:
        spec = resource.spec
        subnqn = self._objects.get(parent_of(name)).resource.spec.nqn
        match spec.WhichOneof("endpoint"):
            case "pcie_id" if spec.trtype == common.NVME_TRANSPORT_TYPE_PCIE:
                return Placement(subnqn, function=_function(name, spec.pcie_id))
            case "fabrics_id" if spec.trtype in TRANSPORTS and spec.fabrics_id.adrfam in FAMILIES:
                return Placement(subnqn, address=_address(name, spec))
        raise InvalidArgumentError(
            f"{name} needs spec.pcie_id with trtype PCIE, or spec.fabrics_id (IPV4 or IPV6) with trtype TCP or RDMA"
        )


def _function(name: str, pcie: common.PciEndpoint) -> HostFunction:
    numbers = (pcie.port_id.value, pcie.physical_function.value, pcie.virtual_function.value)
    if min(numbers) < 0:
        raise InvalidArgumentError(f"spec.pcie_id of {name} is {numbers}, wanted numbers from 0")
    return HostFunction(*numbers)


def _address(name: str, spec: pb.NvmeControllerSpec) -> TransportAddress:
    fabrics = spec.fabrics_id
    if not fabrics.trsvcid.isdecimal():
        raise InvalidArgumentError(
            f"spec.fabrics_id.trsvcid of {name} is {fabrics.trsvcid[:20]!r}, wanted a port number"
        )
    return TransportAddress(
        trtype=TRANSPORTS[spec.trtype],
        traddr=fabrics.traddr,
        trsvcid=fabrics.trsvcid,
        adrfam=FAMILIES[fabrics.adrfam],
    )
