"""csi-controller as a process, beside a real API server and a storage node that is killed."""

import json
import socket
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.contract.backends.spdk_processes import EMULATOR, LVSTORE, Spdk
from tests.contract.k8s.control_plane import ControlPlane

from dpucsi.aio import wait_until
from dpucsi.api.csi.v1 import csi_pb2, csi_pb2_grpc
from dpucsi.backends.spdk_lvol import SpdkLvolBackend
from dpucsi.errors import DpucsiError
from dpucsi.k8s import attacher_lease
from dpucsi.k8s.lease import lease_name
from dpucsi.naming import NodeId, VolumeId
from dpucsi.rpc import Endpoint, call, channel
from dpucsi.testing.lab import listening
from dpucsi.testing.ports import free_port
from dpucsi.testing.process import LabProcess

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

DRIVER = "csi.dpucsi.io"
CLUSTER_ID = "6ba7b814-9dad-11d1-80b4-00c04fd430c8"
NODE_ID = NodeId("host-a", uuid4())
CAPABILITY = csi_pb2.VolumeCapability(
    mount=csi_pb2.VolumeCapability.MountVolume(fs_type="ext4"),
    access_mode=csi_pb2.VolumeCapability.AccessMode(mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER),
)


class Rig:
    def __init__(self, folder: Path, control_plane: ControlPlane) -> None:
        self.folder = folder
        self.control_plane = control_plane
        self.storage = Spdk(EMULATOR, folder, "storage")
        listener = f"tcp://127.0.0.1:{free_port()}"
        self.backend = SpdkLvolBackend.configure(
            "pool-a", {"rpc": self.storage.rpc, "lvstore": LVSTORE, "listeners": [listener]}
        )
        (folder / "backends.toml").write_text(
            f'[pool-a]\ntype = "spdk-lvol"\nrpc = "{self.storage.rpc}"\nlvstore = "{LVSTORE}"\n'
            f'listeners = ["{listener}"]\n'
        )
        self.endpoint = f"unix://{folder}/csi.sock"
        argv = [sys.executable, "-m", "csi_controller", "--listen", self.endpoint, "--cluster-id", CLUSTER_ID]
        argv += ["--backends", str(folder / "backends.toml"), "--namespace", "default"]
        argv += ["--kubernetes", "--kubeconfig", str(control_plane.kubeconfig)]
        self.controller = LabProcess("csi-controller", argv, folder / "csi-controller.log")
        self.channel = channel(Endpoint.parse(self.endpoint))
        self.stub = csi_pb2_grpc.ControllerStub(self.channel)

    async def start_controller(self) -> None:
        self.controller.start()

        async def serves() -> bool | None:
            assert self.controller.running, self.controller.complain()
            return listening(self.endpoint) or None

        await wait_until(serves, "csi-controller serves", timeout_s=20)

    async def restart_storage(self) -> None:
        self.storage.process.kill()
        await self.storage.start()
        await self.storage.load_store()

    async def attach(self, name: str) -> tuple[VolumeId, str]:
        """As the sidecars do: a volume, published, recorded; its host NQN."""
        create = csi_pb2.CreateVolumeRequest(name=name, volume_capabilities=[CAPABILITY])
        made = await call("csi-controller", self.stub.CreateVolume, create)
        publish = csi_pb2.ControllerPublishVolumeRequest(
            volume_id=made.volume.volume_id, node_id=str(NODE_ID), volume_capability=CAPABILITY
        )
        published = await call("csi-controller", self.stub.ControllerPublishVolume, publish)
        self._record(name, made.volume.volume_id, dict(published.publish_context))
        return VolumeId.parse(made.volume.volume_id), published.publish_context["hostnqn"]

    def _record(self, name: str, volume_id: str, metadata: dict[str, str]) -> None:
        source = {"driver": DRIVER, "volumeHandle": volume_id}
        volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": source}
        spec = {"attacher": DRIVER, "nodeName": "host-a", "source": {"persistentVolumeName": name}}
        self.control_plane.apply(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume},
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "VolumeAttachment",
                "metadata": {"name": name, "finalizers": ["external-attacher/csi-dpucsi-io"]},
                "spec": spec,
            },
        )
        status = json.dumps({"status": {"attached": True, "attachmentMetadata": metadata}})
        self.control_plane.kubectl(
            "patch", "volumeattachment", name, "--subresource=status", "--type=merge", "-p", status
        )

    async def detach(self, name: str, volume_id: VolumeId) -> None:
        """As Kubernetes does: marked, fenced, gone."""
        self.control_plane.kubectl("delete", "volumeattachment", name, "--wait=false")
        request = csi_pb2.ControllerUnpublishVolumeRequest(volume_id=str(volume_id), node_id=str(NODE_ID))

        async def unpublished() -> bool | None:
            try:
                await call("csi-controller", self.stub.ControllerUnpublishVolume, request)
            except DpucsiError as error:
                assert error.retry_helps, error
                return None
            return True

        await wait_until(unpublished, "ControllerUnpublishVolume", timeout_s=30)
        done = '{"metadata":{"finalizers":null}}'
        self.control_plane.kubectl("patch", "volumeattachment", name, "--type=merge", "-p", done)

    def lead(self, holder: str) -> None:
        renewed = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.control_plane.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": attacher_lease(DRIVER), "namespace": "default"},
                "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "renewTime": renewed},
            }
        )

    async def hosts(self, volume_id: VolumeId) -> tuple[str, ...]:
        return (await self.backend.get(volume_id.uuid)).hosts

    async def comes_back(self, volume_id: VolumeId, hostnqn: str) -> None:
        async def back() -> bool | None:
            return (await self.hosts(volume_id) == (hostnqn,)) or None

        await wait_until(back, f"{hostnqn} is allowed again", timeout_s=30)

    def said(self, words: str) -> bool:
        return words in self.controller.log.read_text()


@pytest_asyncio.fixture(loop_scope="session")
async def rig(control_plane: ControlPlane) -> AsyncIterator[Rig]:
    with TemporaryDirectory(prefix="ctl-k8s") as folder:
        rig = Rig(Path(folder), control_plane)
        try:
            await rig.storage.start()
            await rig.storage.load_store()
            rig.lead(lease_name(socket.gethostname()))
            await rig.start_controller()
            yield rig
        finally:
            await rig.channel.close()
            await rig.backend.close()
            assert rig.controller.stop() == 0
            rig.storage.process.kill()


async def test_an_export_comes_back_until_its_volume_is_detached(rig: Rig) -> None:
    volume_id, hostnqn = await rig.attach("pv-1")
    await rig.restart_storage()
    await rig.comes_back(volume_id, hostnqn)
    rig.control_plane.api_server.kill()
    await rig.restart_storage()
    assert await rig.hosts(volume_id) == (), "nobody can know whether it is being detached"
    await rig.control_plane.start_api_server()
    await rig.comes_back(volume_id, hostnqn)
    await rig.detach("pv-1", volume_id)
    assert await rig.hosts(volume_id) == ()
    other, another = await rig.attach("pv-2")
    await rig.restart_storage()
    await rig.comes_back(other, another)  # whatever there was to bring back has been
    assert await rig.hosts(volume_id) == ()
    await rig.detach("pv-2", other)


async def test_the_replica_beside_the_attacher_that_leads(rig: Rig) -> None:
    rig.lead("another-pod")
    volume_id, hostnqn = await rig.attach("pv-3")

    async def noticed() -> bool | None:
        return rig.said("does not lead any more") or None

    await wait_until(noticed, "the other one leads", timeout_s=20)
    await rig.restart_storage()

    async def seen() -> bool | None:
        return rig.said("a storage node is new") or None

    await wait_until(seen, "the restart is noticed", timeout_s=20)
    assert await rig.hosts(volume_id) == ()
    rig.lead(lease_name(socket.gethostname()))
    await rig.comes_back(volume_id, hostnqn)
    await rig.detach("pv-3", volume_id)


async def test_csi_is_served_without_an_api_server(rig: Rig) -> None:
    rig.control_plane.api_server.kill()
    rig.controller.stop()
    await rig.start_controller()
    answer = await call(
        "csi-controller", rig.stub.ControllerGetCapabilities, csi_pb2.ControllerGetCapabilitiesRequest()
    )
    assert answer.capabilities
    await rig.control_plane.start_api_server()
    volume_id, hostnqn = await rig.attach("pv-4")
    await rig.restart_storage()
    await rig.comes_back(volume_id, hostnqn)
    await rig.detach("pv-4", volume_id)
