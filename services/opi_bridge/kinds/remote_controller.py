"""NvmeRemoteController: a name and the options of its paths. SPDK knows it by its first path only."""

from collections.abc import Mapping

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as pb
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, UnimplementedError
from opi_bridge.kind import RecordKind
from opi_bridge.objects import Objects

IO_QUEUES_MAX = 127  # SPDK's own limit per controller (its target's max_io_qpairs_per_ctrlr)
MULTIPATH: Mapping[int, str] = {
    pb.NVME_MULTIPATH_DISABLE: "disable",
    pb.NVME_MULTIPATH_FAILOVER: "failover",
    pb.NVME_MULTIPATH_MULTIPATH: "multipath",
}


class RemoteControllerKind(RecordKind[pb.NvmeRemoteController]):
    """Its resource id is the name of SPDK's controller."""

    message = pb.NvmeRemoteController
    changeable = frozenset({"multipath", "io_queues_count", "tcp", "tcp.hdgst", "tcp.ddgst"})

    def complete(self, name: str, resource: pb.NvmeRemoteController, objects: Objects) -> None:
        """Refuses what the paths could not be given."""
        if not 0 <= resource.io_queues_count <= IO_QUEUES_MAX:
            raise InvalidArgumentError(
                f"io_queues_count of {name} is {resource.io_queues_count}, wanted 0 (this service's default) to "
                f"{IO_QUEUES_MAX}"
            )
        if resource.queue_size:
            raise UnimplementedError(f"queue_size of {name} is not offered: SPDK sets it for all controllers at once")
        if resource.tcp.psk:
            raise UnimplementedError(f"tcp.psk of {name} is not offered yet: paths connect without TLS")

    def check_change(self, name: str, wanted: pb.NvmeRemoteController, objects: Objects) -> None:
        """Options reach SPDK with a path."""
        paths = objects.dependents(name)
        if paths:
            raise FailedPreconditionError(f"{name} has {', '.join(paths[:5])}; delete them before its options change")
