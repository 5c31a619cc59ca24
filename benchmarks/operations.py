"""One volume's operations through the services, each timed at its caller and under a request id of its own."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

from dpucsi import naming
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.rpc import call
from dpucsi.testing.lab import Lab
from dpucsi.testing.orchestrator import Claim, Orchestrator, as_request

CREATE, PUBLISH, ATTACH = "CreateVolume", "ControllerPublish", "Attach"
DETACH, UNPUBLISH, DELETE = "Detach + Release", "ControllerUnpublish", "DeleteVolume"
FORWARD, BACK = (CREATE, PUBLISH, ATTACH), (DETACH, UNPUBLISH, DELETE)
STAGE, NODE_PUBLISH, NODE_UNPUBLISH, UNSTAGE = "NodeStage", "NodePublish", "NodeUnpublish", "NodeUnstage"
ON_HOST = (CREATE, PUBLISH, STAGE, NODE_PUBLISH, NODE_UNPUBLISH, UNSTAGE, UNPUBLISH, DELETE)
SIZE_BYTES = 64 << 20
# The Host has one boot id, whoever speaks for it: another one would mean a reboot, and free every slot.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

Act = Callable[[], Awaitable[object]]


class Life:
    """Calls as Kubernetes makes them; Attach, Detach and Release as csi-node-host makes them, over TCP with mTLS."""

    def __init__(self, lab: Lab) -> None:
        self.orchestrator = Orchestrator(lab)
        self._channel = lab.channel("csi-node-dpu")
        self._dpu = node_pb2_grpc.NodeServiceStub(self._channel)

    async def close(self) -> None:
        """Ends the connections."""
        await self._channel.close()
        await self.orchestrator.close()

    def claim(self, name: str) -> Claim:
        """A volume to be."""
        return Claim(name, size_bytes=SIZE_BYTES)

    def acts(self, claim: Claim) -> dict[str, Act]:
        """Every operation by its name, in the order of a life."""
        calls = self.orchestrator
        return {
            CREATE: lambda: calls.create(claim),
            PUBLISH: lambda: calls.publish(claim),
            ATTACH: lambda: self._attach(claim),
            DETACH: lambda: self._detach(claim),
            STAGE: lambda: calls.stage(claim),
            NODE_PUBLISH: lambda: calls.node_publish(claim),
            NODE_UNPUBLISH: lambda: calls.node_unpublish(claim),
            UNSTAGE: lambda: calls.unstage(claim),
            UNPUBLISH: lambda: calls.unpublish(claim),
            DELETE: lambda: calls.delete(claim),
        }

    async def _attach(self, claim: Claim) -> None:
        request = node_pb2.AttachRequest(
            volume_id=claim.volume_id, publish_context=claim.publish_context, boot_id=BOOT_ID
        )
        await call("csi-node-dpu", self._dpu.Attach, request)

    async def _detach(self, claim: Claim) -> None:
        detach = node_pb2.DetachRequest(volume_id=claim.volume_id, boot_id=BOOT_ID)
        await call("csi-node-dpu", self._dpu.Detach, detach)
        release = node_pb2.ReleaseRequest(volume_id=claim.volume_id, boot_id=BOOT_ID)
        await call("csi-node-dpu", self._dpu.Release, release)


def uuid_of(claim: Claim) -> UUID:
    """Of a volume that was created."""
    return naming.VolumeId.parse(claim.volume_id).uuid


async def timed(act: Act, request_id: str) -> float:
    """Milliseconds at the caller."""
    as_request(request_id)
    began = time.perf_counter()
    await act()
    return (time.perf_counter() - began) * 1e3
