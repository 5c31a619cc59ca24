"""A CreateVolumeRequest, validated."""

from collections.abc import Mapping
from dataclasses import dataclass

from csi_controller.access import check_offered, kind_of
from csi_controller.parameters import make_context, parse_parameters
from csi_controller.requests import refuse_secrets, required
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.backends import SizeRange, StorageBackend
from dpucsi.csi.capabilities import parse_capabilities
from dpucsi.csi.topology import check_reachable
from dpucsi.errors import InvalidArgumentError, OutOfRangeError

NAME_MAX = 128  # bytes; CSI spec, "Size Limits" for a string
XFS_MINIMUM = 300 * 1024 * 1024  # bytes; mkfs.xfs refuses less since xfsprogs 5.19


@dataclass(frozen=True)
class CreateRequest:
    """What to make, and on which storage backend; `parameters` are that storage backend's own."""

    backend: str
    size: SizeRange
    parameters: Mapping[str, str]
    volume_context: dict[str, str]


def parse_create(request: csi_pb2.CreateVolumeRequest, backends: Mapping[str, StorageBackend]) -> CreateRequest:
    """Raises InvalidArgumentError, OutOfRangeError for a size, ResourceExhaustedError for a topology."""
    refuse_secrets(request.secrets)
    _check_name(request.name)
    required("volume_capabilities", request.volume_capabilities)
    accesses = parse_capabilities(request.volume_capabilities)
    for access in accesses:
        check_offered(access)
    if len({access.block for access in accesses}) > 1:
        raise InvalidArgumentError("volume_capabilities ask for raw block and a file system at once; choose one")
    _refuse_unoffered(request)
    check_reachable(request.accessibility_requirements)
    parameters = parse_parameters(request.parameters, backends)
    size = _size(request, minimum=XFS_MINIMUM if any(access.fs_type == "xfs" for access in accesses) else 0)
    context = make_context(parameters.placement, kind_of(accesses[0]))
    return CreateRequest(parameters.backend, size, parameters.rest, context)


def _check_name(name: str) -> None:
    required("name", name)
    if len(name.encode()) > NAME_MAX or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise InvalidArgumentError(f"name {name[:40]!r}… is longer than {NAME_MAX} bytes or has control characters")


def _refuse_unoffered(request: csi_pb2.CreateVolumeRequest) -> None:
    if request.HasField("volume_content_source"):
        raise InvalidArgumentError(
            "volume_content_source is set, but this plugin offers neither snapshots nor clones yet; create it empty"
        )
    if request.mutable_parameters:
        raise InvalidArgumentError(
            f"mutable_parameters has the unknown keys {', '.join(sorted(request.mutable_parameters))}; this plugin "
            "does not offer MODIFY_VOLUME, drop the VolumeAttributesClass"
        )


def _size(request: csi_pb2.CreateVolumeRequest, minimum: int) -> SizeRange:
    asked, limit = request.capacity_range.required_bytes, request.capacity_range.limit_bytes
    if request.HasField("capacity_range") and not asked and not limit:
        raise InvalidArgumentError("capacity_range asks for 0 bytes; give required_bytes, limit_bytes, or no range")
    size = SizeRange(asked, limit)
    if 0 < limit < minimum:
        raise OutOfRangeError(f"limit_bytes {limit} is below the {minimum} bytes that the file system needs; raise it")
    return SizeRange(max(asked, minimum), limit) if asked else size
