"""NvmePath: one NVMe-oF session of a remote controller, in SPDK one bdev_nvme_attach_controller."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.errors import (
    DpucsiError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
    UnimplementedError,
)
from dpucsi.naming import check_nqn
from dpucsi.spdk import SpdkClient, SpdkError
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.nvme import NvmePath, RemoteController, bdev_nvme_attach_controller, bdev_nvme_detach_controller
from opi_bridge.kind import Kind, View
from opi_bridge.kinds.remote_controller import MULTIPATH
from opi_bridge.names import id_of, parent_of
from opi_bridge.objects import Objects

TRANSPORTS: Mapping[int, str] = {common.NVME_TRANSPORT_TYPE_TCP: "TCP", common.NVME_TRANSPORT_TYPE_RDMA: "RDMA"}
FAMILIES: Mapping[int, str] = {common.NVME_ADDRESS_FAMILY_IPV4: "IPv4", common.NVME_ADDRESS_FAMILY_IPV6: "IPv6"}
PORT_MAX = 65535


@dataclass(frozen=True)
class PathOptions:
    """What a path does when its target is away, in seconds, and its queues where the request says nothing."""

    io_queues: int
    ctrlr_loss_timeout_s: int
    reconnect_delay_s: int
    fast_io_fail_timeout_s: int


class PathKind(Kind[pb.NvmePath, RemoteController | None]):
    """Its parent gives the multipath mode, the queues and the digests."""

    message = pb.NvmePath
    # SPDK answers -114 to the same address again and to a name that goes to another subsystem, and changes nothing.
    acts_first = True

    def __init__(self, client: SpdkClient, objects: Objects, options: PathOptions) -> None:
        self._client = client
        self._objects = objects
        self._options = options

    def complete(self, name: str, resource: pb.NvmePath, objects: Objects) -> None:
        """Refuses addresses that no fabric has."""
        if resource.trtype not in TRANSPORTS:
            raise UnimplementedError(f"trtype of {name} is not offered; it may be TCP or RDMA")
        if not resource.HasField("fabrics"):
            raise InvalidArgumentError(f"nvme_path.fabrics of {name} is required for TCP and RDMA and is not set")
        fabrics = resource.fabrics
        if fabrics.adrfam not in FAMILIES:
            raise UnimplementedError(f"fabrics.adrfam of {name} is not offered; it may be IPV4 or IPV6")
        if not 1 <= fabrics.trsvcid <= PORT_MAX:
            raise InvalidArgumentError(
                f"fabrics.trsvcid of {name} is {fabrics.trsvcid}, wanted a port, 1 to {PORT_MAX}"
            )
        check_nqn(fabrics.subnqn, f"fabrics.subnqn of {name}")
        if fabrics.hostnqn:
            check_nqn(fabrics.hostnqn, f"fabrics.hostnqn of {name}")
        if fabrics.source_traddr or fabrics.source_trsvcid:
            raise UnimplementedError(f"a source address for {name} is not offered; routing chooses it")

    def keys(self, name: str, resource: pb.NvmePath) -> Iterable[str]:
        """SPDK has an address once per controller."""
        address = _address(resource)
        return (f"the address {address.trtype} {address.traddr}:{address.trsvcid} of {parent_of(name)}",)

    def blockers(self, name: str, objects: Objects) -> Iterable[str]:
        """The last path carries what others use of the remote controller.

        A namespace that is being deleted does not hold it: SPDK may wait there for I/O that only ends with the path.
        """
        parent = parent_of(name)
        beside = [other for other in objects.dependents(parent) if other != name]
        if any(parent_of(other) == parent for other in beside):
            return []
        return [other for other in beside if not objects.get(other).deleting]

    async def read(self, name: str, resource: pb.NvmePath, view: View) -> RemoteController | None:
        """The controller with all its paths."""
        return await view.remote_controller(id_of(parent_of(name)))

    def is_so(self, resource: pb.NvmePath, seen: RemoteController | None) -> bool:
        """The same address, subsystem and host; whether it is connected just now is the target's affair."""
        wanted = resource.fabrics
        for path in seen.paths if seen else ():
            if path.subnqn != wanted.subnqn:
                raise FailedPreconditionError(
                    f"SPDK has a controller of this name that goes to {path.subnqn}, wanted {wanted.subnqn}; detach it"
                )
            if _is_at(path, resource):
                if wanted.hostnqn and path.hostnqn != wanted.hostnqn:
                    raise FailedPreconditionError(
                        f"SPDK has this path to {path.subnqn} as {path.hostnqn}, wanted {wanted.hostnqn}; detach it"
                    )
                return True
        return False

    def is_gone(self, resource: pb.NvmePath, seen: RemoteController | None) -> bool:
        """No such path; one to another subsystem or as another host is not ours."""
        wanted = resource.fabrics
        return not any(
            _is_at(path, resource) and path.subnqn == wanted.subnqn and wanted.hostnqn in ("", path.hostnqn)
            for path in (seen.paths if seen else ())
        )

    async def make(self, name: str, resource: pb.NvmePath, seen: RemoteController | None) -> None:
        """Connects."""
        parent = self._objects.get(parent_of(name)).resource
        await bdev_nvme_attach_controller(
            self._client,
            name=id_of(parent_of(name)),
            address=_address(resource),
            subnqn=resource.fabrics.subnqn,
            hostnqn=resource.fabrics.hostnqn or None,
            multipath=MULTIPATH[parent.multipath],
            num_io_queues=parent.io_queues_count or self._options.io_queues,
            ctrlr_loss_timeout_sec=self._options.ctrlr_loss_timeout_s,
            reconnect_delay_sec=self._options.reconnect_delay_s,
            fast_io_fail_timeout_sec=self._options.fast_io_fail_timeout_s,
            hdgst=parent.tcp.hdgst or None,
            ddgst=parent.tcp.ddgst or None,
        )

    async def unmake(self, name: str, resource: pb.NvmePath) -> None:
        """Disconnects; the bdevs go with the last path."""
        await bdev_nvme_detach_controller(
            self._client, name=id_of(parent_of(name)), address=_address(resource), subnqn=resource.fabrics.subnqn
        )

    def refused(self, name: str, resource: pb.NvmePath, error: DpucsiError) -> DpucsiError:
        """SPDK has one answer for a target that is down, does not know the subsystem, or does not let this host in."""
        if not isinstance(error, SpdkError):
            return error
        address = _address(resource)
        return UnavailableError(
            f"{name}: no connection to {resource.fabrics.subnqn} at {address.trtype} {address.traddr}:"
            f"{address.trsvcid} ({error.text}); check that the target is up, has this subsystem and allows host "
            f"{resource.fabrics.hostnqn or 'of this SPDK'}, then try again"
        )


def _address(resource: pb.NvmePath) -> TransportAddress:
    return TransportAddress(
        trtype=TRANSPORTS[resource.trtype],
        traddr=resource.traddr,
        trsvcid=str(resource.fabrics.trsvcid),
        adrfam=FAMILIES[resource.fabrics.adrfam],
    )


def _is_at(path: NvmePath, resource: pb.NvmePath) -> bool:
    return path.address == _address(resource)
