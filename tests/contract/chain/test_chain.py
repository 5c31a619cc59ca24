"""CreateVolume, publish and Attach through all five services between two SPDK processes, and everything back.

The emulator always; two real `spdk_tgt`, with the drivers that a real one can serve, where SPDK_TGT names one.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.attacher.v1 import attacher_pb2
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.rpc import call
from dpucsi.spdk import nvme, nvmf
from dpucsi.testing.lab import DPU_UUID, Lab
from dpucsi.testing.orchestrator import Claim, Orchestrator
from dpucsi.testing.snapshot import comes_to, snapshot
from dpucsi.testing.spdk_command import real_spdk

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOOT = "7d9e7f0a-0000-4000-8000-000000000001"


@pytest_asyncio.fixture(
    loop_scope="module", scope="module", params=["emulator-emulated", "real-nvmf-tcp", "real-vfio-user"]
)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    kind, _, driver = request.param.partition("-")
    if kind == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    if os.geteuid() != 0:
        pytest.skip("the emulated card's loop devices need root")
    root = Path(tempfile.mkdtemp(prefix="dpucsi-chain-"))
    lab = Lab(root, spdk_tgt=real_spdk() if kind == "real" else None, driver=driver)
    try:
        await lab.up()
        yield lab
    finally:
        lab.down()
    shutil.rmtree(root)


class Chain:
    """The orchestrator's calls to the controller, and a Host's to its DPU."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.orchestrator = Orchestrator(lab)
        self._channel = lab.channel("csi-node-dpu")
        self._dpu = node_pb2_grpc.NodeServiceStub(self._channel)

    async def published(self, name: str, **parameters: str) -> Claim:
        await self.orchestrator.learn_node()
        claim = Claim(name, size_bytes=64 << 20, parameters=parameters)
        await self.orchestrator.create(claim)
        await self.orchestrator.publish(claim)
        return claim

    async def attach(self, claim: Claim) -> attacher_pb2.Disk:
        exclusive = claim.volume_context.get("placement") == "exclusive"
        request = node_pb2.AttachRequest(
            volume_id=claim.volume_id,
            publish_context=claim.publish_context,
            boot_id=BOOT,
            placement=attacher_pb2.PLACEMENT_EXCLUSIVE if exclusive else attacher_pb2.PLACEMENT_SHARED,
        )
        return (await call("csi-node-dpu", self._dpu.Attach, request)).disk

    async def detach(self, claim: Claim) -> None:
        request = node_pb2.DetachRequest(volume_id=claim.volume_id, boot_id=BOOT)
        await call("csi-node-dpu", self._dpu.Detach, request)
        await call("csi-node-dpu", self._dpu.Release, node_pb2.ReleaseRequest(volume_id=claim.volume_id, boot_id=BOOT))

    async def gone(self, claim: Claim) -> None:
        await self.orchestrator.unpublish(claim)
        await self.orchestrator.delete(claim)

    async def close(self) -> None:
        await self._channel.close()
        await self.orchestrator.close()


@pytest_asyncio.fixture(loop_scope="module")
async def chain(lab: Lab) -> AsyncIterator[Chain]:
    chain = Chain(lab)
    yield chain
    await chain.close()


@pytest.mark.parametrize("placement", ["shared", "exclusive"])
async def test_the_host_facing_subsystem_shows_the_volume_under_its_own_identity(chain: Chain, placement: str) -> None:
    before = await snapshot(chain.lab)
    claim = await chain.published(f"chain-{placement}", placement=placement)
    disk = await chain.attach(claim)
    uuid = naming.VolumeId.parse(claim.volume_id).uuid
    assert UUID(disk.uuid) == UUID(disk.nguid) == uuid
    async with chain.lab.spdk("dpu") as spdk:
        subsystem = await nvmf.find_subsystem(spdk, naming.host_subnqn(DPU_UUID, disk.function))
    assert subsystem is not None
    shown = subsystem.namespace(disk.nsid)
    assert shown is not None
    assert (UUID(shown.uuid), UUID(shown.nguid)) == (uuid, uuid)
    assert len(subsystem.listen_addresses) == 1
    assert await chain.attach(claim) == disk, "attaching again is another disk"
    await chain.detach(claim)
    await chain.detach(claim)
    await chain.gone(claim)
    await comes_to(chain.lab, before)


async def test_unpublish_cuts_the_old_generation_off_for_good(chain: Chain) -> None:
    """The DPU still holds its session, as one that nobody could reach: a new publish does not let it in again."""
    before = await snapshot(chain.lab)
    claim = await chain.published("chain-fence")
    await chain.attach(claim)
    uuid = naming.VolumeId.parse(claim.volume_id).uuid
    old = claim.publish_context["hostnqn"]
    async with chain.lab.spdk("storage") as storage, chain.lab.spdk("dpu") as dpu:
        connected = await nvmf.nvmf_subsystem_get_controllers(storage, nqn=naming.subnqn(uuid))
        assert {controller.hostnqn for controller in connected} == {old}
        await chain.orchestrator.unpublish(claim)
        assert await nvmf.find_subsystem(storage, naming.subnqn(uuid)) is None
        await chain.orchestrator.publish(claim)
        assert claim.publish_context["hostnqn"] != old

        async def cut() -> bool | None:
            remote = await nvme.find_nvme_controller(dpu, naming.opi_remote_controller(uuid))
            return remote is None or all(path.state != nvme.ENABLED for path in remote.paths) or None

        await wait_until(cut, "the DPU noticing that it was cut off", timeout_s=10)
        assert await nvmf.nvmf_subsystem_get_controllers(storage, nqn=naming.subnqn(uuid)) == ()
    await chain.detach(claim)
    await chain.attach(claim)
    await chain.detach(claim)
    await chain.gone(claim)
    await comes_to(chain.lab, before)


async def test_many_volumes_share_a_function(chain: Chain) -> None:
    before = await snapshot(chain.lab)
    claims = [await chain.published(f"chain-many-{number}") for number in range(5)]
    disks = [await chain.attach(claim) for claim in claims]
    assert len({(disk.function, disk.nsid) for disk in disks}) == 5
    assert len({disk.pci_address for disk in disks}) == 1
    for claim in claims:
        await chain.detach(claim)
        await chain.gone(claim)
    await comes_to(chain.lab, before)
