"""GetCapacity: room for volumes of one StorageClass."""

from collections.abc import Mapping
from dataclasses import dataclass

from csi_controller.access import check_offered
from csi_controller.create import XFS_MINIMUM
from csi_controller.parameters import Parameters, parse_parameters
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.backends import Capacity, StorageBackend
from dpucsi.csi.capabilities import parse_capability


@dataclass(frozen=True)
class CapacityRequest:
    """The parameters choose the storage backend as CreateVolume's do; `minimum_bytes` is what a file system needs."""

    parameters: Parameters
    minimum_bytes: int


def parse_capacity(request: csi_pb2.GetCapacityRequest, backends: Mapping[str, StorageBackend]) -> CapacityRequest:
    """Raises InvalidArgumentError. The topology says nothing: every Host reaches every storage backend."""
    accesses = [parse_capability(capability) for capability in request.volume_capabilities]
    for access in accesses:
        check_offered(access)
    minimum = XFS_MINIMUM if any(access.fs_type == "xfs" for access in accesses) else 0
    return CapacityRequest(parse_parameters(request.parameters, backends), minimum)


def capacity_response(found: Capacity, minimum_bytes: int) -> csi_pb2.GetCapacityResponse:
    """On the wire; what the storage does not tell is left unset."""
    least = max(found.minimum_volume_bytes or 0, minimum_bytes)
    answer = csi_pb2.GetCapacityResponse(available_capacity=found.available_bytes)
    if found.maximum_volume_bytes is not None:
        answer.maximum_volume_size.value = found.maximum_volume_bytes
    if least:
        answer.minimum_volume_size.value = least
    return answer
