"""The CSI Controller service: validate, convert, one verb of a storage backend, convert back.

What is not here is answered UNIMPLEMENTED by the generated base class, and not declared. No state is kept: identities
are computed, everything else is the storage backend's to tell. What storage does not show - the placement, and whether
a volume was made as raw block or for a file system - travels in the volume_context that the CO keeps and hands back:
publish and ValidateVolumeCapabilities compare with it, a repeated CreateVolume has nothing to compare with.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from csi_controller.access import NodeOf, check_made_for, check_offered, choose_hostnqn, is_of_dpu, unknown_node
from csi_controller.capacity import capacity_response, parse_capacity
from csi_controller.create import parse_create
from csi_controller.parameters import parse_context, parse_parameters
from csi_controller.requests import find_backend, node_id_of, parse_volume_id, refuse_secrets, required
from dpucsi import naming
from dpucsi.aio import Operations
from dpucsi.api.csi.v1 import csi_pb2, csi_pb2_grpc
from dpucsi.backends import SizeRange, StorageBackend, Volume
from dpucsi.csi import publish_context, topology
from dpucsi.csi.capabilities import Access, parse_capabilities, parse_capability
from dpucsi.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from dpucsi.observe import bound

_RPC = csi_pb2.ControllerServiceCapability.RPC
CAPABILITIES = (
    _RPC.CREATE_DELETE_VOLUME,
    _RPC.PUBLISH_UNPUBLISH_VOLUME,
    _RPC.SINGLE_NODE_MULTI_WRITER,
    _RPC.GET_CAPACITY,
)


class ControllerServicer(csi_pb2_grpc.ControllerServicer):
    """Volumes of one cluster on the storage `backends`, by the name of their table. `node_of` serves messages."""

    def __init__(
        self,
        cluster_id: UUID,
        backends: Mapping[str, StorageBackend],
        operations: Operations,
        node_of: NodeOf = unknown_node,
    ) -> None:
        self._cluster_id = cluster_id
        self._backends = backends
        self._operations = operations
        self._node_of = node_of

    async def ControllerGetCapabilities(  # noqa: N802  # the wire's name
        self, request: csi_pb2.ControllerGetCapabilitiesRequest, context: Any
    ) -> csi_pb2.ControllerGetCapabilitiesResponse:
        """What this controller can do."""
        return csi_pb2.ControllerGetCapabilitiesResponse(
            capabilities=[csi_pb2.ControllerServiceCapability(rpc=_RPC(type=kind)) for kind in CAPABILITIES]
        )

    async def CreateVolume(  # noqa: N802
        self, request: csi_pb2.CreateVolumeRequest, context: Any
    ) -> csi_pb2.CreateVolumeResponse:
        """The volume with this name, made if it is not there."""
        wanted = parse_create(request, self._backends)
        volume_id = naming.VolumeId(wanted.backend, naming.volume_uuid(self._cluster_id, request.name))
        backend = self._backends[wanted.backend]
        with bound(volume_id=str(volume_id)):  # the one request that does not name its volume
            volume = await self._operations.run(
                str(volume_id),
                "CreateVolume",
                lambda: backend.create(volume_id.uuid, wanted.size, wanted.parameters),
            )
        return csi_pb2.CreateVolumeResponse(
            volume=csi_pb2.Volume(
                volume_id=str(volume_id),
                capacity_bytes=volume.size_bytes,
                volume_context=wanted.volume_context,
                accessible_topology=[topology.of_hosts()],
            )
        )

    async def DeleteVolume(  # noqa: N802
        self, request: csi_pb2.DeleteVolumeRequest, context: Any
    ) -> csi_pb2.DeleteVolumeResponse:
        """The volume is gone; an id that we never gave names nothing, so nothing is left to do."""
        refuse_secrets(request.secrets)
        volume_id = parse_volume_id(request.volume_id)
        if volume_id is not None:
            backend = find_backend(self._backends, volume_id)
            await self._operations.run(str(volume_id), "DeleteVolume", lambda: backend.delete(volume_id.uuid))
        return csi_pb2.DeleteVolumeResponse()

    async def GetCapacity(  # noqa: N802
        self, request: csi_pb2.GetCapacityRequest, context: Any
    ) -> csi_pb2.GetCapacityResponse:
        """Room for volumes with the parameters."""
        wanted = parse_capacity(request, self._backends)
        found = await self._backends[wanted.parameters.backend].capacity(wanted.parameters.rest)
        return capacity_response(found, wanted.minimum_bytes)

    async def ControllerPublishVolume(  # noqa: N802
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: Any
    ) -> csi_pb2.ControllerPublishVolumeResponse:
        """The node's DPU may connect; the publish_context says how, the same one until it is unpublished."""
        access = _publish_access(request)
        volume_id = _known(request.volume_id)
        node = node_id_of(request.node_id)

        def choose(volume: Volume) -> str:
            return choose_hostnqn(volume_id, volume, node, access, self._node_of)

        backend = find_backend(self._backends, volume_id)
        spec = await self._operations.run(
            str(volume_id), "ControllerPublishVolume", lambda: backend.grant(volume_id.uuid, choose)
        )
        return csi_pb2.ControllerPublishVolumeResponse(publish_context=publish_context.encode(spec))

    async def ControllerUnpublishVolume(  # noqa: N802
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: Any
    ) -> csi_pb2.ControllerUnpublishVolumeResponse:
        """The node's DPU is cut off, proven by the storage, with or without the node's help; no node_id: every one."""
        refuse_secrets(request.secrets)
        volume_id = parse_volume_id(request.volume_id)
        node = node_id_of(request.node_id) if request.node_id else None
        if volume_id is not None:
            backend = find_backend(self._backends, volume_id)
            await self._operations.run(
                str(volume_id), "ControllerUnpublishVolume", lambda: backend.revoke(volume_id.uuid, is_of_dpu(node))
            )
        return csi_pb2.ControllerUnpublishVolumeResponse()

    async def ValidateVolumeCapabilities(  # noqa: N802
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, context: Any
    ) -> csi_pb2.ValidateVolumeCapabilitiesResponse:
        """Confirms what CreateVolume would have accepted, for a volume that exists and has the parameters given."""
        refuse_secrets(request.secrets)
        required("volume_capabilities", request.volume_capabilities)
        volume_id = _known(request.volume_id)
        volume = await find_backend(self._backends, volume_id).get(volume_id.uuid)
        try:
            self._compare(request, volume_id, volume)
        except (InvalidArgumentError, AlreadyExistsError) as differs:
            return csi_pb2.ValidateVolumeCapabilitiesResponse(message=str(differs))
        return csi_pb2.ValidateVolumeCapabilitiesResponse(
            confirmed=csi_pb2.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
            )
        )

    def _compare(
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, volume_id: naming.VolumeId, volume: Volume
    ) -> None:
        context = parse_context(request.volume_context)
        for access in parse_capabilities(request.volume_capabilities):
            check_offered(access)
            check_made_for(access, context.made_for)
        if request.mutable_parameters:
            raise InvalidArgumentError("mutable_parameters are not offered by this plugin")
        if not request.parameters:
            return
        named = {"backend": volume_id.backend, **request.parameters}
        asked = parse_parameters(named, self._backends)
        if asked.backend != volume_id.backend or context.placement not in (None, asked.placement):
            raise InvalidArgumentError(
                f"volume {volume_id} has placement {context.placement}; the parameters say storage backend "
                f"{asked.backend}, placement {asked.placement}"
            )
        volume.check_same(SizeRange(), asked.rest)


def _known(text: str) -> naming.VolumeId:
    volume_id = parse_volume_id(text)
    if volume_id is None:
        raise NotFoundError(f"volume {text[: naming.VOLUME_ID_MAX]!r} does not exist: CreateVolume gave no such id")
    return volume_id


def _publish_access(request: csi_pb2.ControllerPublishVolumeRequest) -> Access:
    """What the request itself must be, whatever exists: INVALID_ARGUMENT comes before NOT_FOUND."""
    refuse_secrets(request.secrets)
    required("volume_id", request.volume_id)
    required("node_id", request.node_id)
    if not request.HasField("volume_capability"):
        raise InvalidArgumentError("volume_capability is missing; give the one that the volume will be used with")
    context = parse_context(request.volume_context)
    if request.readonly:
        raise InvalidArgumentError(
            "readonly is set, but this plugin does not offer PUBLISH_READONLY; publish read-only on the node"
        )
    access = parse_capability(request.volume_capability)
    check_offered(access)
    check_made_for(access, context.made_for)
    return access
