"""A small container orchestrator: calls the two CSI endpoints as Kubernetes does, and tries again as it does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from dpucsi.aio import wait_until
from dpucsi.api.csi.v1 import csi_pb2, csi_pb2_grpc
from dpucsi.backends import load_backends
from dpucsi.csi.publish_context import decode
from dpucsi.errors import DpucsiError, TimedOutError
from dpucsi.model import AttachSpec
from dpucsi.rpc import call
from dpucsi.rpc.context import REQUEST_ID, adopt_request_id
from dpucsi.testing.lab import BACKEND, Lab

ResultT = TypeVar("ResultT")
CALL_S = 20.0


def mount_capability(fs_type: str = "ext4", flags: tuple[str, ...] = ()) -> csi_pb2.VolumeCapability:
    """A file system for one writer."""
    return csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(fs_type=fs_type, mount_flags=flags),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER),
    )


def block_capability() -> csi_pb2.VolumeCapability:
    """A raw block device for one writer."""
    return csi_pb2.VolumeCapability(
        block=csi_pb2.VolumeCapability.BlockVolume(),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER),
    )


@dataclass
class Claim:
    """One volume that the orchestrator takes through its life, and what it learnt on the way."""

    name: str
    size_bytes: int = 256 << 20
    capability: csi_pb2.VolumeCapability = field(default_factory=mount_capability)
    parameters: dict[str, str] = field(default_factory=dict)
    volume_id: str = ""
    volume_context: dict[str, str] = field(default_factory=dict)
    publish_context: dict[str, str] = field(default_factory=dict)


class Orchestrator:
    """Calls of one lab. `patience_s` bounds how long a step is tried again while its errors say that trying helps.

    As long as it `remembers`, exports that the storage node forgot come back as they do in a cluster.
    """

    def __init__(self, lab: Lab, patience_s: float = 60.0) -> None:
        self._lab = lab
        self._patience_s = patience_s
        self._channels = [lab.channel("csi-controller"), lab.channel("csi-node-host")]
        self.controller = csi_pb2_grpc.ControllerStub(self._channels[0])
        self.node = csi_pb2_grpc.NodeStub(self._channels[1])
        self.node_id = ""
        self.remembers = True
        self._storage = load_backends(lab.root / "backends.toml")[BACKEND]
        self._recorded: dict[str, AttachSpec] = {}  # by volume_id, what VolumeAttachments record in a cluster
        self._recording = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Closes the channels."""
        if self._keeper is not None:
            self._keeper.cancel()
        await self._storage.close()
        for channel in self._channels:
            await channel.close()

    def staging_path(self, claim: Claim) -> Path:
        """As kubelet has it: one per volume, made by the orchestrator."""
        return self._lab.root / "kubelet" / claim.name / "staging"

    def target_path(self, claim: Claim) -> Path:
        """As kubelet has it: one per pod; the parent is the orchestrator's, the target the driver's."""
        return self._lab.root / "kubelet" / claim.name / "target"

    async def step(self, what: str, attempt: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Tries until it works, an error says that trying again cannot help, or patience ends."""
        end = time.monotonic() + self._patience_s
        pause = 0.05
        while True:
            try:
                return await attempt()
            except DpucsiError as error:
                if not error.retry_helps:
                    raise
                if time.monotonic() > end:
                    raise TimedOutError(f"{what} did not succeed in {self._patience_s:.0f} s: {error}") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def learn_node(self) -> None:
        """NodeGetInfo."""
        request = csi_pb2.NodeGetInfoRequest()
        info = await self.step("NodeGetInfo", lambda: call("csi-node-host", self.node.NodeGetInfo, request))
        self.node_id = info.node_id

    async def create(self, claim: Claim) -> None:
        """CreateVolume."""
        request = csi_pb2.CreateVolumeRequest(
            name=claim.name,
            capacity_range=csi_pb2.CapacityRange(required_bytes=claim.size_bytes),
            volume_capabilities=[claim.capability],
            parameters=claim.parameters,
        )
        answer = await self._controller(f"CreateVolume {claim.name}", self.controller.CreateVolume, request)
        claim.volume_id = answer.volume.volume_id
        claim.volume_context = dict(answer.volume.volume_context)

    async def publish(self, claim: Claim) -> None:
        """ControllerPublishVolume."""
        request = csi_pb2.ControllerPublishVolumeRequest(
            volume_id=claim.volume_id,
            node_id=self.node_id,
            volume_capability=claim.capability,
            volume_context=claim.volume_context,
        )
        answer = await self._controller("ControllerPublishVolume", self.controller.ControllerPublishVolume, request)
        claim.publish_context = dict(answer.publish_context)
        self._recorded[claim.volume_id] = decode(claim.publish_context)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._bring_back())

    async def stage(self, claim: Claim) -> None:
        """NodeStageVolume, with the staging folder made before as CSI asks of the CO."""
        self.staging_path(claim).mkdir(parents=True, exist_ok=True)
        request = csi_pb2.NodeStageVolumeRequest(
            volume_id=claim.volume_id,
            publish_context=claim.publish_context,
            staging_target_path=str(self.staging_path(claim)),
            volume_capability=claim.capability,
            volume_context=claim.volume_context,
        )
        await self._node("NodeStageVolume", self.node.NodeStageVolume, request)

    async def node_publish(self, claim: Claim, *, readonly: bool = False) -> None:
        """NodePublishVolume."""
        self.target_path(claim).parent.mkdir(parents=True, exist_ok=True)
        request = csi_pb2.NodePublishVolumeRequest(
            volume_id=claim.volume_id,
            publish_context=claim.publish_context,
            staging_target_path=str(self.staging_path(claim)),
            target_path=str(self.target_path(claim)),
            volume_capability=claim.capability,
            readonly=readonly,
            volume_context=claim.volume_context,
        )
        await self._node("NodePublishVolume", self.node.NodePublishVolume, request)

    async def stats(self, claim: Claim) -> csi_pb2.NodeGetVolumeStatsResponse:
        """NodeGetVolumeStats of the published path."""
        request = csi_pb2.NodeGetVolumeStatsRequest(volume_id=claim.volume_id, volume_path=str(self.target_path(claim)))
        return await self._node("NodeGetVolumeStats", self.node.NodeGetVolumeStats, request)

    async def node_unpublish(self, claim: Claim) -> None:
        """NodeUnpublishVolume."""
        request = csi_pb2.NodeUnpublishVolumeRequest(
            volume_id=claim.volume_id, target_path=str(self.target_path(claim))
        )
        await self._node("NodeUnpublishVolume", self.node.NodeUnpublishVolume, request)

    async def unstage(self, claim: Claim) -> None:
        """NodeUnstageVolume."""
        request = csi_pb2.NodeUnstageVolumeRequest(
            volume_id=claim.volume_id, staging_target_path=str(self.staging_path(claim))
        )
        await self._node("NodeUnstageVolume", self.node.NodeUnstageVolume, request)

    async def unpublish(self, claim: Claim) -> None:
        """ControllerUnpublishVolume."""
        request = csi_pb2.ControllerUnpublishVolumeRequest(volume_id=claim.volume_id, node_id=self.node_id)
        async with self._recording:  # from here on nothing is brought back, as with a VolumeAttachment being deleted
            self._recorded.pop(claim.volume_id, None)
            await self._controller("ControllerUnpublishVolume", self.controller.ControllerUnpublishVolume, request)
        claim.publish_context = {}

    async def delete(self, claim: Claim) -> None:
        """DeleteVolume."""
        request = csi_pb2.DeleteVolumeRequest(volume_id=claim.volume_id)
        await self._controller("DeleteVolume", self.controller.DeleteVolume, request)

    async def exports_back(self) -> None:
        """Returns when every volume that is published is exported as it was published."""

        async def back() -> bool | None:
            try:
                hosts = {volume.uuid: volume.hosts for volume in await self._storage.list_volumes()}
            except DpucsiError:
                return None
            recorded = self._recorded.values() if self.remembers else ()
            return all(spec.hostnqn in hosts.get(spec.uuid, ()) for spec in recorded) or None

        await wait_until(back, "the exports that were published", timeout_s=self._patience_s)

    async def _bring_back(self) -> None:
        """What csi-controller does with VolumeAttachments (csi_controller/restore.py), with the records of this one.

        A storage node forgets its exports with its process. They are made again under the host NQN that they were
        published with, so the DPU reconnects by itself.
        """
        instance: object = None
        while True:
            instance = await self._storage.new_instance(instance)
            async with self._recording:
                for spec in self._recorded.values() if self.remembers else ():
                    await self.step("an export brought back", partial(self._grant, spec))

    async def _grant(self, spec: AttachSpec) -> None:
        await self._storage.grant(spec.uuid, lambda _: spec.hostnqn)

    def forward(self, claim: Claim) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
        """Everything from nothing to a usable path, in order, by CSI's names."""
        return [
            ("CreateVolume", lambda: self.create(claim)),
            ("ControllerPublishVolume", lambda: self.publish(claim)),
            ("NodeStageVolume", lambda: self.stage(claim)),
            ("NodePublishVolume", lambda: self.node_publish(claim)),
        ]

    def back(self, claim: Claim) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
        """Everything back, in order."""
        return [
            ("NodeUnpublishVolume", lambda: self.node_unpublish(claim)),
            ("NodeUnstageVolume", lambda: self.unstage(claim)),
            ("ControllerUnpublishVolume", lambda: self.unpublish(claim)),
            ("DeleteVolume", lambda: self.delete(claim)),
        ]

    async def _controller(self, what: str, method: Callable[..., Awaitable[ResultT]], request: Message) -> ResultT:
        return await self.step(what, lambda: call("csi-controller", method, request, timeout_s=CALL_S))

    async def _node(self, what: str, method: Callable[..., Awaitable[ResultT]], request: Message) -> ResultT:
        return await self.step(what, lambda: call("csi-node-host", method, request, timeout_s=CALL_S))


def as_request(request_id: str) -> None:
    """Everything that this task calls from now on carries `request_id`, under which each service logs it."""
    adopt_request_id([(REQUEST_ID, request_id)])
