"""The wire: dpucsi.attacher.v1.AttacherService. Translates; the verbs are in attach.py and detach.py."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from dpucsi.aio import Operations
from dpucsi.api.attacher.v1 import attacher_pb2 as pb
from dpucsi.api.attacher.v1 import attacher_pb2_grpc
from dpucsi.observe import bound
from volume_attacher.attach import attach
from volume_attacher.convert import attachment_of, boot_id_from, disk_of, placement_from, spec_from, uuid_from
from volume_attacher.detach import detach, release
from volume_attacher.dpu import Dpu
from volume_attacher.reconcile import Reconciler
from volume_attacher.slots import Placement

ResultT = TypeVar("ResultT")


class AttacherServicer(attacher_pb2_grpc.AttacherServiceServicer):
    """Answers AttacherService."""

    def __init__(self, dpu: Dpu, operations: Operations, reconciler: Reconciler, transports: tuple[str, ...]) -> None:
        self._dpu = dpu
        self._operations = operations
        self._reconciler = reconciler
        self._transports = transports

    async def GetInfo(self, request: pb.GetInfoRequest, context: Any) -> pb.GetInfoResponse:  # noqa: N802  # wire name
        """Slots, and transports."""
        functions = self._dpu.functions
        taken = self._dpu.table.taken() | self._dpu.strangers.keys()
        exclusive = set(functions.slots(Placement.EXCLUSIVE))
        return pb.GetInfoResponse(
            max_attachments=functions.countable,
            free_attachments=len(functions.all_slots() - taken),
            free_exclusive=len(exclusive - taken),
            transports=self._transports,
        )

    async def Attach(self, request: pb.AttachRequest, context: Any) -> pb.AttachResponse:  # noqa: N802
        """Brings a volume to the Host."""
        spec = spec_from(request.spec, self._transports)
        placement = placement_from(request.placement)
        boot_id = boot_id_from(request.boot_id)
        record = await self._run(spec.uuid, "attach", lambda: attach(self._dpu, spec, placement, boot_id))
        return pb.AttachResponse(disk=disk_of(record, self._dpu.functions))

    async def Detach(self, request: pb.DetachRequest, context: Any) -> pb.DetachResponse:  # noqa: N802
        """Takes it back."""
        uuid, boot_id = uuid_from(request.uuid, "uuid"), boot_id_from(request.boot_id)
        record = await self._run(uuid, "detach", lambda: detach(self._dpu, uuid, boot_id))
        return pb.DetachResponse(disk=disk_of(record, self._dpu.functions) if record else None)

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:  # noqa: N802
        """Frees the slot."""
        uuid, boot_id = uuid_from(request.uuid, "uuid"), boot_id_from(request.boot_id)
        await self._run(uuid, "release", lambda: release(self._dpu, uuid, boot_id))
        return pb.ReleaseResponse()

    async def ListAttachments(  # noqa: N802
        self, request: pb.ListAttachmentsRequest, context: Any
    ) -> pb.ListAttachmentsResponse:
        """Every record, or one volume's."""
        only = uuid_from(request.uuid, "uuid") if request.uuid else None
        records = [record for record in self._dpu.table.all() if only in (None, record.spec.uuid)]
        return pb.ListAttachmentsResponse(
            attachments=[attachment_of(record, self._dpu.functions) for record in records]
        )

    async def _run(self, uuid: UUID, verb: str, operation: Callable[[], Awaitable[ResultT]]) -> ResultT:
        async def ahead_of_reconciler() -> ResultT:
            async with self._reconciler.hold(uuid):
                return await operation()

        with bound(volume=str(uuid)):
            return await self._operations.run(f"volume {uuid}", verb, ahead_of_reconciler)
