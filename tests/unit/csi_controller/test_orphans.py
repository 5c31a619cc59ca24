"""What the storage and Kubernetes do not agree about is told, and stays."""

import asyncio
from uuid import UUID, uuid4

import pytest
import structlog.testing

from csi_controller.orphans import OrphanReport, find_orphans
from dpucsi import naming
from dpucsi.backends import Volume
from dpucsi.errors import UnavailableError
from dpucsi.k8s import Cluster, PersistentVolume, SoleLeadership, VolumeAttachment
from dpucsi.testing.fake_backend import FakeBackend
from dpucsi.testing.fake_kube import VOLUMES, FakeKube, volume

DPU = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
NQN = naming.hostnqn(DPU, "01234567")


def node_of(dpu: UUID) -> str:
    return "host-a" if dpu == DPU else ""


def pv(uuid: UUID, backend: str = "pool-a") -> PersistentVolume:
    return PersistentVolume(f"pv-{uuid}", f"{backend}/{uuid}", shared=False)


def va(uuid: UUID, *, attached: bool = True, hostnqn: str = NQN) -> VolumeAttachment:
    return VolumeAttachment(f"csi-{uuid}", "uid", "host-a", f"pv-{uuid}", attached, False, {"hostnqn": hostnqn})


def found(volumes: list[Volume], pvs: list[PersistentVolume], attachments: list[VolumeAttachment]) -> list[str]:
    return sorted(one.name for one in find_orphans({"pool-a": volumes}, pvs, attachments, node_of))


def test_all_is_well() -> None:
    uuid = uuid4()
    assert found([Volume(uuid, 1, hosts=(NQN,))], [pv(uuid)], [va(uuid)]) == []
    assert found([Volume(uuid, 1)], [pv(uuid)], []) == []


def test_a_volume_that_nobody_names() -> None:
    uuid = uuid4()
    assert found([Volume(uuid, 1)], [pv(uuid4(), "pool-b")], []) == [f"pool-a/{uuid}"]


def test_a_volume_that_is_gone() -> None:
    uuid = uuid4()
    assert found([], [pv(uuid)], []) == [f"pv-{uuid} (pool-a/{uuid})"]


def test_a_handle_that_we_never_gave() -> None:
    assert found([], [PersistentVolume("pv-1", "by-hand", shared=False)], []) == ["pv-1 (by-hand)"]


def test_nothing_is_said_of_storage_that_was_not_asked() -> None:
    assert find_orphans({}, [pv(uuid4())], [], node_of) == set()


@pytest.mark.parametrize("attachments", [[], [va(UUID(int=7), hostnqn=f"{NQN[:-1]}8")]])
def test_a_host_that_may_connect_and_should_not(attachments: list[VolumeAttachment]) -> None:
    uuid = uuid4()
    (name,) = found([Volume(uuid, 1, hosts=(NQN,))], [pv(uuid)], attachments)
    assert NQN in name
    assert "Node host-a" in name


def test_a_host_that_is_being_detached_is_accounted_for() -> None:
    uuid = uuid4()
    assert found([Volume(uuid, 1, hosts=(NQN,))], [pv(uuid)], [va(uuid, attached=False)]) == []


@pytest.mark.parametrize("looks", [1, 2])
async def test_told_when_two_looks_find_it_and_never_deleted(kube: FakeKube, looks: int) -> None:
    api = kube.connect()
    cluster = Cluster(api, "csi.dpucsi.io")
    backend, away = FakeBackend(), FakeBackend()
    away.trouble = UnavailableError("no SPDK")
    orphan, kept = uuid4(), uuid4()
    backend.volumes = {uuid: Volume(uuid, 1) for uuid in (orphan, kept)}
    await kube.put(VOLUMES, "pv-kept", **volume(f"pool-a/{kept}"))
    await kube.put(VOLUMES, "pv-away", **volume(f"pool-b/{uuid4()}"))
    report = OrphanReport(cluster, SoleLeadership(), {"pool-a": backend, "pool-b": away}, period_s=3600)
    running = asyncio.create_task(cluster.run())
    await cluster.synced()
    with structlog.testing.capture_logs() as logs:
        for _ in range(looks):
            await report.look()
    running.cancel()
    await asyncio.wait([running])  # before its session is closed
    told = {(entry["object"], entry["to_do"] != "") for entry in logs if entry["event"] == "orphan"}
    assert told == ({(f"pool-a/{orphan}", True)} if looks == 2 else set())
    assert set(backend.volumes) == {orphan, kept}
    await api.close()


async def test_a_replica_that_does_not_lead_says_nothing(kube: FakeKube) -> None:
    class Other(SoleLeadership):
        async def validity(self) -> float:
            return 0.0

    api = kube.connect()
    backend = FakeBackend()
    backend.volumes = {DPU: Volume(DPU, 1)}
    report = OrphanReport(Cluster(api, "csi.dpucsi.io"), Other(), {"pool-a": backend}, period_s=3600)
    with structlog.testing.capture_logs() as logs:
        await report.look()
        await report.look()
    assert logs == []
    await api.close()
