"""The wire: dpucsi.node.v1.NodeService. Keeps nothing: the attacher has the records, the locks and the limits."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from csi_node_dpu.convert import attach_spec, uuid_of
from dpucsi.api.attacher.v1 import attacher_pb2, attacher_pb2_grpc
from dpucsi.api.node.v1 import node_pb2 as pb
from dpucsi.api.node.v1 import node_pb2_grpc
from dpucsi.rpc import call

ATTACHER = "volume-attacher"
ResponseT = TypeVar("ResponseT")


class NodeServicer(node_pb2_grpc.NodeServiceServicer):
    """Answers NodeService for the Host of the DPU `dpu`; `timeout_s` bounds each call to the attacher."""

    def __init__(self, dpu: UUID, attacher: attacher_pb2_grpc.AttacherServiceStub, timeout_s: float) -> None:
        self._dpu = dpu
        self._attacher = attacher
        self._timeout_s = timeout_s

    async def GetInfo(self, request: pb.GetInfoRequest, context: Any) -> pb.GetInfoResponse:  # noqa: N802  # wire name
        """Who this DPU is; the numbers are the attacher's."""
        info = await self._ask(self._attacher.GetInfo, attacher_pb2.GetInfoRequest())
        return pb.GetInfoResponse(
            dpu_uuid=str(self._dpu),
            max_volumes=info.max_attachments,
            free_volumes=info.free_attachments,
            transports=info.transports,
        )

    async def Attach(self, request: pb.AttachRequest, context: Any) -> pb.AttachResponse:  # noqa: N802
        """Brings a published volume to the Host."""
        asked = attacher_pb2.AttachRequest(
            spec=attach_spec(request.volume_id, request.publish_context, self._dpu),
            placement=request.placement,
            boot_id=request.boot_id,
        )
        return pb.AttachResponse(disk=(await self._ask(self._attacher.Attach, asked)).disk)

    async def Detach(self, request: pb.DetachRequest, context: Any) -> pb.DetachResponse:  # noqa: N802
        """Takes it back."""
        asked = attacher_pb2.DetachRequest(uuid=uuid_of(request.volume_id), boot_id=request.boot_id)
        answer = await self._ask(self._attacher.Detach, asked)
        return pb.DetachResponse(disk=answer.disk if answer.HasField("disk") else None)

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:  # noqa: N802
        """The device is gone from the Host."""
        asked = attacher_pb2.ReleaseRequest(uuid=uuid_of(request.volume_id), boot_id=request.boot_id)
        await self._ask(self._attacher.Release, asked)
        return pb.ReleaseResponse()

    async def ListAttachments(  # noqa: N802
        self, request: pb.ListAttachmentsRequest, context: Any
    ) -> pb.ListAttachmentsResponse:
        """What the DPU holds for its Host."""
        uuid = uuid_of(request.volume_id) if request.volume_id else ""
        answer = await self._ask(self._attacher.ListAttachments, attacher_pb2.ListAttachmentsRequest(uuid=uuid))
        return pb.ListAttachmentsResponse(attachments=answer.attachments)

    async def _ask(self, method: Callable[..., Awaitable[ResponseT]], request: Message) -> ResponseT:
        return await call(ATTACHER, method, request, timeout_s=self._timeout_s)
