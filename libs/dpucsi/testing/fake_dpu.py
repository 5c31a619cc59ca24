"""A csi-node-dpu for tests of csi-node-host: serves dpucsi.node.v1 and plugs loop devices into an `NvmeTree`.

It keeps the two steps of giving a disk back as the interface tells them, so a Host that skips one is refused.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from dpucsi.api.attacher.v1 import attacher_pb2
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError
from dpucsi.naming import VolumeId
from dpucsi.testing.nvme_tree import NvmeTree

ADDRESS = "0000:3b:00.0"
Promise = Callable[[attacher_pb2.Disk], None]


@dataclass
class Plugged:
    """One attachment: `loop` is "" once the disk is unplugged."""

    disk: attacher_pb2.Disk
    name: str
    loop: str
    placement: "attacher_pb2.Placement.ValueType"
    boot_id: str
    hostnqn: str


@dataclass
class FakeDpu(node_pb2_grpc.NodeServiceServicer):
    """`files` holds one backing file per volume uuid; absent ones are made, `size_bytes` long and sparse.

    Knobs: `promise` edits what Attach answers; `plug` and `unplug` False leave the tree alone; `on_call` sees every
    call's name before it is served and may raise.
    """

    tree: NvmeTree
    files: Path
    dpu_uuid: UUID
    size_bytes: int = 64 << 20
    promise: Promise = field(default=lambda disk: None)
    plug: bool = True
    unplug: bool = True
    on_call: Callable[[str], None] = field(default=lambda name: None)
    attached: dict[str, Plugged] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tree.add_controller("nvme1", ADDRESS)

    def file(self, uuid: UUID) -> Path:
        """The volume's bytes."""
        path = self.files / str(uuid)
        if not path.exists():
            with path.open("wb") as disk:
                disk.truncate(self.size_bytes)
        return path

    async def GetInfo(self, request: node_pb2.GetInfoRequest, context: Any) -> node_pb2.GetInfoResponse:  # noqa: N802
        """Thirty-two slots."""
        self.on_call("GetInfo")
        return node_pb2.GetInfoResponse(dpu_uuid=str(self.dpu_uuid), max_volumes=32, transports=["TCP"])

    async def Attach(self, request: node_pb2.AttachRequest, context: Any) -> node_pb2.AttachResponse:  # noqa: N802
        """Plugs the volume's disk."""
        self.on_call("Attach")
        if not request.boot_id or not request.publish_context:
            raise InvalidArgumentError("boot_id and publish_context are required")
        plugged = self._of(request.volume_id)
        if plugged is not None and not plugged.loop:
            raise FailedPreconditionError(f"the former slot of {request.volume_id} awaits Release")
        hostnqn = request.publish_context.get("hostnqn", "")
        if plugged is not None and plugged.hostnqn != hostnqn:
            raise FailedPreconditionError(f"{request.volume_id} is attached as {plugged.hostnqn}, wanted {hostnqn}")
        if plugged is None:
            plugged = await self._plug(VolumeId.parse(request.volume_id), request)
        plugged.boot_id = request.boot_id
        answer = node_pb2.AttachResponse(disk=plugged.disk)
        self.promise(answer.disk)
        return answer

    async def Detach(self, request: node_pb2.DetachRequest, context: Any) -> node_pb2.DetachResponse:  # noqa: N802
        """Unplugs it."""
        self.on_call("Detach")
        plugged = self._of(request.volume_id)
        if plugged is None:
            return node_pb2.DetachResponse()
        if plugged.loop:
            if self.unplug:
                self.pull(plugged)
            loop, plugged.loop = plugged.loop, ""
            await losetup("-d", loop)
        return node_pb2.DetachResponse(disk=plugged.disk)

    async def Release(self, request: node_pb2.ReleaseRequest, context: Any) -> node_pb2.ReleaseResponse:  # noqa: N802
        """Forgets it; refused while the Host can still see the disk, which the real DPU could only believe."""
        self.on_call("Release")
        plugged = self._of(request.volume_id)
        if plugged is not None:
            if plugged.loop or (self.tree.sys / "block" / plugged.name).exists():
                raise FailedPreconditionError(f"{request.volume_id} is not gone from the Host")
            self.attached = {key: other for key, other in self.attached.items() if other is not plugged}
        return node_pb2.ReleaseResponse()

    async def ListAttachments(  # noqa: N802
        self, request: node_pb2.ListAttachmentsRequest, context: Any
    ) -> node_pb2.ListAttachmentsResponse:
        """What is plugged, or waits for Release."""
        self.on_call("ListAttachments")
        return node_pb2.ListAttachmentsResponse(
            attachments=[
                attacher_pb2.Attachment(
                    spec=attacher_pb2.AttachSpec(uuid=plugged.disk.uuid, hostnqn=plugged.hostnqn),
                    state=attacher_pb2.ATTACHMENT_STATE_ATTACHED
                    if plugged.loop
                    else attacher_pb2.ATTACHMENT_STATE_UNCONFIRMED,
                    disk=plugged.disk,
                    placement=plugged.placement,
                    boot_id=plugged.boot_id,
                )
                for plugged in self.attached.values()
                if not request.volume_id or plugged is self._of(request.volume_id)
            ]
        )

    def _of(self, volume_id: str) -> Plugged | None:
        """By the uuid alone, as the real DPU does."""
        uuid = str(VolumeId.parse(volume_id).uuid)
        return next((plugged for plugged in self.attached.values() if plugged.disk.uuid == uuid), None)

    def pull(self, plugged: Plugged) -> None:
        """The disk vanishes from the Host's tree."""
        if (self.tree.sys / "block" / plugged.name).exists():
            self.tree.remove_disk(plugged.name)

    async def unplug_all(self) -> None:
        """Leaves no loop device behind."""
        for plugged in self.attached.values():
            self.pull(plugged)
            if plugged.loop:
                await losetup("-d", plugged.loop)
        self.attached.clear()

    async def _plug(self, volume_id: VolumeId, request: node_pb2.AttachRequest) -> Plugged:
        file = self.file(volume_id.uuid)
        loop = await losetup("--find", "--show", str(file))
        taken = {plugged.disk.nsid for plugged in self.attached.values()}
        nsid = next(number for number in range(1, 1000) if number not in taken)
        name = f"nvme0n{nsid}"  # the subsystem's number, not the controller's
        size = file.stat().st_size
        disk = attacher_pb2.Disk(
            uuid=str(volume_id.uuid), nguid=volume_id.uuid.hex, nsid=nsid, size_bytes=size, pci_address=ADDRESS
        )
        plugged = Plugged(
            disk, name, loop, request.placement, request.boot_id, request.publish_context.get("hostnqn", "")
        )
        self.attached[request.volume_id] = plugged
        if self.plug:
            number = os.stat(loop).st_rdev  # noqa: PTH116  # a device node of devtmpfs
            self.tree.add_disk(
                name,
                controllers=("nvme1",),
                uuid=volume_id.uuid,
                nguid=volume_id.uuid.hex,
                nsid=nsid,
                size_bytes=size,
                dev=(os.major(number), os.minor(number)),
                multipath=True,
            )
        return plugged


async def losetup(*arguments: str) -> str:
    """Runs losetup(8); RuntimeError where it fails."""
    process = await asyncio.create_subprocess_exec(
        "losetup", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"losetup {' '.join(arguments)}: {err.decode().strip()}")
    return out.decode().strip()
