"""A Host for tests: csi-node-host's real parts over a fake DPU on a real socket, loop devices, a tree in a folder."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import grpc

from csi_node_host.dpu import Dpu
from csi_node_host.forgotten import Forgotten
from csi_node_host.node import NodeServicer
from csi_node_host.record import Volumes
from csi_node_host.site import Site
from dpucsi.aio import Operations, wait_until
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.api.node.v1 import node_pb2_grpc
from dpucsi.errors import DpucsiError
from dpucsi.naming import VolumeId
from dpucsi.nvme import Sysfs
from dpucsi.rpc import Endpoint, Service, channel
from dpucsi.rpc.server import build
from dpucsi.store import Records
from dpucsi.testing.fake_dpu import FakeDpu
from dpucsi.testing.leftovers import no_loop_devices
from dpucsi.testing.nvme_tree import NvmeTree

DPU = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
VOLUME = VolumeId("pool-a", UUID("11111111-2222-5333-8444-555555555555"))
OTHER = VolumeId("pool-a", UUID("99999999-2222-5333-8444-555555555555"))
Modes = csi_pb2.VolumeCapability.AccessMode
BOOT = "boot-1"


def capability(fs_type="ext4", mode=Modes.SINGLE_NODE_WRITER, flags=()):
    access_mode = Modes(mode=mode)
    if fs_type == "block":
        return csi_pb2.VolumeCapability(block=csi_pb2.VolumeCapability.BlockVolume(), access_mode=access_mode)
    mount = csi_pb2.VolumeCapability.MountVolume(fs_type=fs_type, mount_flags=flags)
    return csi_pb2.VolumeCapability(mount=mount, access_mode=access_mode)


@dataclass
class Rig:
    """Serves from `start` on; `restart` replaces `servicer` as a kill does; the DPU, disks and mounts outlive it."""

    root: Path
    dpu: FakeDpu
    to_dpu: grpc.aio.Channel
    records: Records = field(init=False)
    servicer: NodeServicer = field(init=False)
    forgotten: Forgotten = field(init=False)
    site: Site = field(init=False)
    published: Callable[[VolumeId], bool] = lambda volume_id: True

    @property
    def tree(self) -> NvmeTree:
        return self.dpu.tree

    async def is_published(self, volume_id: VolumeId) -> bool:
        """What the cluster says; `published` is replaced where it says something else."""
        return self.published(volume_id)

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def target(self) -> Path:
        return self.root / "pods" / "target"

    async def restart(self, boot_id=BOOT, lose_state=False):
        await self.records.close()
        if lose_state:
            for file in (self.root / "state").glob("*"):
                file.unlink()
        self.start(boot_id)

    def start(self, boot_id=BOOT):
        self.records = Records.open(self.root / "state" / "node.db")
        self.site = Site(
            sysfs=Sysfs(self.tree.sys),
            dev_root=self.tree.dev,
            dpu=Dpu(lambda: self.to_dpu, boot_id),
            volumes=Volumes(self.records, boot_id),
            disk_wait_s=3.0,
        )
        operations = Operations(30.0)
        self.servicer = NodeServicer(self.site, operations, "node-a")
        self.forgotten = Forgotten(self.site, operations, period_s=3600.0, is_published=self.is_published)

    def stage_request(self, volume=VOLUME, fs_type="ext4", path=None, context=None, publication="nqn:1", **access):
        return csi_pb2.NodeStageVolumeRequest(
            volume_id=str(volume),
            staging_target_path=str(path or self.staging),
            volume_capability=capability(fs_type, **access),
            publish_context={"transport": "TCP", "hostnqn": publication},
            volume_context=context or {},
        )

    async def stage(self, **arguments):
        return await self.servicer.NodeStageVolume(self.stage_request(**arguments), None)

    async def unstage(self, volume=VOLUME, path=None):
        request = csi_pb2.NodeUnstageVolumeRequest(volume_id=str(volume), staging_target_path=str(path or self.staging))
        return await self.servicer.NodeUnstageVolume(request, None)

    async def publish(self, volume=VOLUME, fs_type="ext4", target=None, readonly=False, staging=None, **access):
        request = csi_pb2.NodePublishVolumeRequest(
            volume_id=str(volume),
            staging_target_path=str(staging or self.staging),
            target_path=str(target or self.target),
            volume_capability=capability(fs_type, **access),
            readonly=readonly,
        )
        return await self.servicer.NodePublishVolume(request, None)

    async def unpublish(self, volume=VOLUME, target=None):
        request = csi_pb2.NodeUnpublishVolumeRequest(volume_id=str(volume), target_path=str(target or self.target))
        return await self.servicer.NodeUnpublishVolume(request, None)

    async def stats(self, volume=VOLUME, path=None):
        request = csi_pb2.NodeGetVolumeStatsRequest(volume_id=str(volume), volume_path=str(path or self.target))
        return (await self.servicer.NodeGetVolumeStats(request, None)).usage

    def record(self, volume=VOLUME):
        return self.site.volumes.get(volume)

    def file(self, volume=VOLUME) -> Path:
        return self.dpu.file(volume.uuid)


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


async def again(attempt):
    """The CO's retries, as long as the error says that one can help."""

    async def look():
        try:
            await attempt()
        except DpucsiError as error:
            if not error.retry_helps:
                raise
            return None
        return True

    await wait_until(look, "success of a retry", timeout_s=20)


@asynccontextmanager
async def make_rig(root: Path):
    """Ends with an assertion: no mount and no loop device of this test is left, once the DPU has let go."""
    for folder in ("staging", "pods", "files", "state"):
        (root / folder).mkdir()
    dpu = FakeDpu(NvmeTree(root / "host"), root / "files", DPU)
    server = build([Service("dpucsi.node.v1.NodeService", node_pb2_grpc.add_NodeServiceServicer_to_server, dpu)])
    endpoint = Endpoint(path=root / "dpu.sock")
    server.add_insecure_port(endpoint.target)
    await server.start()
    async with channel(endpoint) as to_dpu:
        rig = Rig(root, dpu, to_dpu)
        rig.start()
        try:
            yield rig
            assert mounts_under(root) == [], "mounts left"
        finally:
            for path in reversed(mounts_under(root)):
                subprocess.run(["umount", path], check=True)
            await dpu.unplug_all()
            await rig.records.close()
            await server.stop(0)
    await no_loop_devices(root)


def mounts_under(root: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [path for path in (line.split(" ")[4] for line in lines) if path.startswith(f"{root}/")]


def am_root() -> bool:
    return os.geteuid() == 0
