"""The CSI Node service on the wire: checks, converts and calls the verb of the same name; nothing else."""

from typing import Any

from csi_node_host.forgotten import lock_of
from csi_node_host.publish import publish, unpublish
from csi_node_host.requests import parse_path, parse_publish, parse_stage
from csi_node_host.site import Site
from csi_node_host.stage import stage
from csi_node_host.stats import stats
from csi_node_host.unstage import unstage
from dpucsi.aio import Operations
from dpucsi.api.csi.v1 import csi_pb2, csi_pb2_grpc
from dpucsi.csi import topology
from dpucsi.errors import InvalidArgumentError, NotFoundError, UnavailableError
from dpucsi.naming import NodeId, VolumeId

_Rpc = csi_pb2.NodeServiceCapability.RPC
CAPABILITIES = (_Rpc.STAGE_UNSTAGE_VOLUME, _Rpc.GET_VOLUME_STATS, _Rpc.SINGLE_NODE_MULTI_WRITER)


class NodeServicer(csi_pb2_grpc.NodeServicer):
    """One Host. What is not here answers UNIMPLEMENTED."""

    def __init__(self, site: Site, operations: Operations, node: str) -> None:
        self._site = site
        self._operations = operations
        self._node = node

    async def NodeGetCapabilities(  # noqa: N802  # the wire's name
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: Any
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        """What this service offers."""
        offered = [csi_pb2.NodeServiceCapability(rpc=_Rpc(type=kind)) for kind in CAPABILITIES]
        return csi_pb2.NodeGetCapabilitiesResponse(capabilities=offered)

    async def NodeGetInfo(  # noqa: N802
        self, request: csi_pb2.NodeGetInfoRequest, context: Any
    ) -> csi_pb2.NodeGetInfoResponse:
        """Who this Host is together with its DPU, and how many volumes the DPU can carry."""
        info = await self._site.dpu.info()
        try:
            node_id = NodeId.parse(f"{self._node}/{info.dpu_uuid}")
        except InvalidArgumentError as wrong:
            raise UnavailableError(f"csi-node-dpu answered GetInfo with dpu_uuid {info.dpu_uuid[:40]!r}") from wrong
        return csi_pb2.NodeGetInfoResponse(
            node_id=str(node_id), max_volumes_per_node=info.max_volumes, accessible_topology=topology.of_hosts()
        )

    async def NodeStageVolume(  # noqa: N802
        self, request: csi_pb2.NodeStageVolumeRequest, context: Any
    ) -> csi_pb2.NodeStageVolumeResponse:
        """Attach, find the disk, format a blank one, mount."""
        wanted = parse_stage(request)
        await self._operations.run(lock_of(wanted.volume_id), "NodeStageVolume", lambda: stage(self._site, wanted))
        return csi_pb2.NodeStageVolumeResponse()

    async def NodeUnstageVolume(  # noqa: N802
        self, request: csi_pb2.NodeUnstageVolumeRequest, context: Any
    ) -> csi_pb2.NodeUnstageVolumeResponse:
        """Unmount, detach, wait until the disk is gone, release."""
        volume_id = _volume_id(request.volume_id)
        path = parse_path(request.staging_target_path, "staging_target_path")
        await self._operations.run(
            lock_of(volume_id), "NodeUnstageVolume", lambda: unstage(self._site, volume_id, path)
        )
        return csi_pb2.NodeUnstageVolumeResponse()

    async def NodePublishVolume(  # noqa: N802
        self, request: csi_pb2.NodePublishVolumeRequest, context: Any
    ) -> csi_pb2.NodePublishVolumeResponse:
        """Bind mount to the target path."""
        wanted = parse_publish(request)
        await self._operations.run(lock_of(wanted.volume_id), "NodePublishVolume", lambda: publish(self._site, wanted))
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(  # noqa: N802
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: Any
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        """Unmount and remove the target path."""
        volume_id = _volume_id(request.volume_id)
        path = parse_path(request.target_path, "target_path")
        await self._operations.run(
            lock_of(volume_id), "NodeUnpublishVolume", lambda: unpublish(self._site, volume_id, path)
        )
        return csi_pb2.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(  # noqa: N802
        self, request: csi_pb2.NodeGetVolumeStatsRequest, context: Any
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        """Usage. A volume or a path that cannot exist here is not found, as any other that does not (csi-sanity)."""
        if not request.volume_id or not request.volume_path:
            raise InvalidArgumentError("volume_id and volume_path are both required")
        try:
            volume_id = VolumeId.parse(request.volume_id)
            path = parse_path(request.volume_path, "volume_path")
        except InvalidArgumentError as impossible:
            raise NotFoundError(str(impossible)) from impossible
        return csi_pb2.NodeGetVolumeStatsResponse(usage=await stats(self._site, volume_id, path))


def _volume_id(text: str) -> VolumeId:
    if not text:
        raise InvalidArgumentError("volume_id is missing")
    return VolumeId.parse(text)
