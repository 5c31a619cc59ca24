"""The DPU's csi-node-dpu, in this service's words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import grpc

from dpucsi.api.attacher.v1 import attacher_pb2
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.errors import UnavailableError
from dpucsi.model import HostDisk
from dpucsi.naming import VolumeId
from dpucsi.rpc import call

FAR_SIDE = "csi-node-dpu"
PLACEMENTS = {
    "shared": attacher_pb2.PLACEMENT_SHARED,
    "exclusive": attacher_pb2.PLACEMENT_EXCLUSIVE,
}
_BEING_TAKEN = (attacher_pb2.ATTACHMENT_STATE_DETACHING, attacher_pb2.ATTACHMENT_STATE_UNCONFIRMED)


@dataclass(frozen=True)
class Attachment:
    """What the DPU holds for the volume `uuid`, by its own record.

    `publication`: which ControllerPublishVolume it was attached for, as `publication_of` tells it. `boot_id`: the
    Host's boot that asked for it last. `being_taken`: it waits for the Host's word that the disk is gone.
    """

    uuid: UUID
    publication: str
    boot_id: str
    being_taken: bool
    placement: str
    pci_address: str


def publication_of(publish_context: Mapping[str, str]) -> str:
    """What tells one ControllerPublishVolume of a volume from the next; "" where the context does not say.

    The host NQN is made anew with each of them, and never used again: here it is a name and nothing else.
    """
    return publish_context.get("hostnqn", "")


class Dpu:
    """Calls over the channel that `channel` gives; it raises UnavailableError where the DPU is not known.

    Every method raises dpucsi.errors; UnavailableError while nobody answers.
    """

    def __init__(self, channel: Callable[[], grpc.aio.Channel], boot_id: str) -> None:
        self._channel = channel
        self.boot_id = boot_id

    @property
    def _stub(self) -> node_pb2_grpc.NodeServiceStub:
        return node_pb2_grpc.NodeServiceStub(self._channel())

    async def info(self) -> node_pb2.GetInfoResponse:
        """Who the DPU is, and how many volumes it can carry."""
        return await call(FAR_SIDE, self._stub.GetInfo, node_pb2.GetInfoRequest())

    async def attach(self, volume_id: VolumeId, publish_context: Mapping[str, str], placement: str) -> HostDisk:
        """Brings the volume's disk to this Host, and says by what it is to be known."""
        request = node_pb2.AttachRequest(
            volume_id=str(volume_id),
            publish_context=dict(publish_context),
            placement=PLACEMENTS[placement],
            boot_id=self.boot_id,
        )
        answer = await call(FAR_SIDE, self._stub.Attach, request)
        return _promise(answer.disk, volume_id)

    async def detach(self, volume_id: VolumeId) -> None:
        """Takes it back; fine when there is none."""
        await call(FAR_SIDE, self._stub.Detach, node_pb2.DetachRequest(volume_id=str(volume_id), boot_id=self.boot_id))

    async def release(self, volume_id: VolumeId) -> None:
        """This Host's word that the disk is gone; fine when nobody waits for it."""
        await call(
            FAR_SIDE, self._stub.Release, node_pb2.ReleaseRequest(volume_id=str(volume_id), boot_id=self.boot_id)
        )

    async def attachment(self, volume_id: VolumeId) -> Attachment | None:
        """What the DPU's own record says."""
        answer = await call(
            FAR_SIDE, self._stub.ListAttachments, node_pb2.ListAttachmentsRequest(volume_id=str(volume_id))
        )
        return next((_attachment(one) for one in answer.attachments if one.spec.uuid == str(volume_id.uuid)), None)

    async def attachments(self) -> list[Attachment]:
        """All that the DPU has records of."""
        answer = await call(FAR_SIDE, self._stub.ListAttachments, node_pb2.ListAttachmentsRequest())
        return [_attachment(found) for found in answer.attachments]


def _attachment(found: attacher_pb2.Attachment) -> Attachment:
    return Attachment(
        uuid=_uuid(found.spec.uuid),
        publication=found.spec.hostnqn,
        boot_id=found.boot_id,
        being_taken=found.state in _BEING_TAKEN,
        placement="exclusive" if found.placement == attacher_pb2.PLACEMENT_EXCLUSIVE else "shared",
        pci_address=found.disk.pci_address.lower(),
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as wrong:
        raise UnavailableError(f"{FAR_SIDE} listed an attachment with uuid {text[:40]!r}") from wrong


def _promise(disk: attacher_pb2.Disk, volume_id: VolumeId) -> HostDisk:
    """A promise of another volume's disk would lead to another volume's data."""
    try:
        uuid = UUID(disk.uuid)
    except ValueError:
        uuid = None
    if uuid != volume_id.uuid or not disk.nsid:
        raise UnavailableError(
            f"{FAR_SIDE} answered Attach of volume {volume_id} with disk uuid {disk.uuid[:40]!r}, nsid {disk.nsid}; "
            f"wanted uuid {volume_id.uuid}; the disk is not used"
        )
    return HostDisk(volume_id.uuid, disk.nguid.lower(), disk.nsid, disk.size_bytes, disk.pci_address.lower())
