"""Builds csi-node-dpu's objects and serves."""

from csi_node_dpu.config import Config
from csi_node_dpu.node import NodeServicer
from dpucsi.api.attacher.v1 import attacher_pb2_grpc
from dpucsi.api.node.v1 import node_pb2_grpc
from dpucsi.rpc import Endpoint, Service, channel, serve
from dpucsi.store import resolve_identity

SERVICE = "dpucsi.node.v1.NodeService"


async def serve_csi_node_dpu(config: Config) -> None:
    """Until SIGTERM."""
    dpu = resolve_identity(config.dpu_uuid)
    to_attacher = channel(Endpoint.parse(config.attacher))
    servicer = NodeServicer(dpu, attacher_pb2_grpc.AttacherServiceStub(to_attacher), config.operation_limit)
    try:
        await serve(config, [Service(SERVICE, node_pb2_grpc.add_NodeServiceServicer_to_server, servicer)])
    finally:
        await to_attacher.close(None)
