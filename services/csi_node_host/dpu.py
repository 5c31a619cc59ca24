"""The DPU's csi-node-dpu, in this service's words."""

from collections.abc import Mapping
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
    """What the DPU holds for a volume; `being_taken`: it waits for the Host's word that the disk is gone."""

    being_taken: bool
    placement: str


class Dpu:
    """Calls over one lasting channel. Every method raises dpucsi.errors; UnavailableError while nobody answers."""

    def __init__(self, channel: grpc.aio.Channel, boot_id: str) -> None:
        self._stub = node_pb2_grpc.NodeServiceStub(channel)
        self._boot_id = boot_id

    async def info(self) -> node_pb2.GetInfoResponse:
        """Who the DPU is, and how many volumes it can carry."""
        return await call(FAR_SIDE, self._stub.GetInfo, node_pb2.GetInfoRequest())

    async def attach(self, volume_id: VolumeId, publish_context: Mapping[str, str], placement: str) -> HostDisk:
        """Brings the volume's disk to this Host, and says by what it is to be known."""
        request = node_pb2.AttachRequest(
            volume_id=str(volume_id),
            publish_context=dict(publish_context),
            placement=PLACEMENTS[placement],
            boot_id=self._boot_id,
        )
        answer = await call(FAR_SIDE, self._stub.Attach, request)
        return _promise(answer.disk, volume_id)

    async def detach(self, volume_id: VolumeId) -> None:
        """Takes it back; fine when there is none."""
        await call(FAR_SIDE, self._stub.Detach, node_pb2.DetachRequest(volume_id=str(volume_id), boot_id=self._boot_id))

    async def release(self, volume_id: VolumeId) -> None:
        """This Host's word that the disk is gone; fine when nobody waits for it."""
        await call(
            FAR_SIDE, self._stub.Release, node_pb2.ReleaseRequest(volume_id=str(volume_id), boot_id=self._boot_id)
        )

    async def attachment(self, volume_id: VolumeId) -> Attachment | None:
        """What the DPU's own record says."""
        answer = await call(
            FAR_SIDE, self._stub.ListAttachments, node_pb2.ListAttachmentsRequest(volume_id=str(volume_id))
        )
        for found in answer.attachments:
            if found.spec.uuid == str(volume_id.uuid):
                exclusive = found.placement == attacher_pb2.PLACEMENT_EXCLUSIVE
                return Attachment(found.state in _BEING_TAKEN, "exclusive" if exclusive else "shared")
        return None


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
