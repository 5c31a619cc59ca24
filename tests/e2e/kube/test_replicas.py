"""Two controllers, as the chart has them by default: one works, the other one takes over, and no fence is undone."""

import os
import signal
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.e2e.kube import objects
from tests.e2e.kube.load import load_spec, progress, start_load
from tests.e2e.kube.space import Space, restarts

from dpucsi.aio import wait_until
from dpucsi.k8s.lease import attacher_lease
from dpucsi.spdk.nvmf import nvmf_get_subsystems

NAMESPACE = "dpucsi"
LEASES = (attacher_lease(objects.DRIVER), "csi-dpucsi-io")  # the external-attacher's, the external-provisioner's
TAKEN_OVER_S = 60.0  # a Lease holds for 15 s, and is looked at every 5 s
CONTAINERS = ("csi-controller", "csi-provisioner", "csi-attacher")
_WHERE = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["control", "host-b"]}
_OTHERS = {"matchLabels": {"app.kubernetes.io/component": "controller", "app.kubernetes.io/name": "dpucsi"}}
# The lab's nodes share one network, so the ports of each replica are bound on the address of its Node, and no two of
# them run on one, not even while one takes the other's place.
TWO = {
    "controller": {
        "replicas": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [_WHERE]}]
                }
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": _OTHERS}
                ]
            },
        },
    },
    "sidecars": {
        "provisioner": {"extraArgs": ["--http-endpoint=$(POD_IP):8080"]},
        "attacher": {"extraArgs": ["--http-endpoint=$(POD_IP):8081"]},
    },
}


@pytest_asyncio.fixture
async def two(space: Space) -> AsyncIterator[Space]:
    """Two controllers on two Nodes; one again behind the case."""
    chart = space.lab.chart
    await chart.install(TWO)
    try:
        await chart.ready()
        yield space
    finally:
        await chart.install()
        await chart.ready()


async def test_a_leader_that_stands_still_is_taken_over_from_and_changes_nothing_when_it_goes_on(two: Space):
    """Meanwhile a storage node forgets its exports, a volume moves, and a claim is made."""
    lab = two.lab
    await start_load(two, "data", storage_class="pool-a", node="host-a")
    leader = await holder(two, LEASES[0])
    stopped = await pids_of(two, leader)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        await wait_until(lambda: others_lead(two, leader), "another leader", timeout_s=TAKEN_OVER_S)
        lab.processes["storage-a"].kill()
        await lab.start("storage-a")
        await progress(two, "data")
        await two.delete_pod("data")
        await two.apply(objects.pod("moved", load_spec("data", "host-b")))
        await two.running("moved")
        await start_load(two, "new", storage_class="pool-b", node="host-a")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    await wait_until(lambda: has_ended(two, leader), f"end of a sidecar of {leader}, which leads no more", timeout_s=60)
    await lab.kubectl("wait", "pod", leader, "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s")
    for pod in ("moved", "new"):
        await progress(two, pod)
    assert await allowed(two, "data") == await recorded(two, "data")


async def holder(space: Space, lease: str) -> str:
    """The pod that holds a Lease."""
    found = await space.lab.kubectl.get("lease", lease, namespace=NAMESPACE)
    return str(found["spec"].get("holderIdentity", "")) if found else ""


async def others_lead(space: Space, leader: str) -> bool | None:
    """True when no Lease is held by `leader` any more."""
    holders = [await holder(space, lease) for lease in LEASES]
    return (all(holders) and leader not in holders) or None


async def controller(space: Space, pod: str) -> objects.Object:
    """The pod of a controller."""
    found = await space.lab.kubectl.get("pod", pod, namespace=NAMESPACE)
    assert found is not None, f"no pod {pod}"
    return dict(found)


async def pids_of(space: Space, pod: str) -> list[int]:
    """The first processes of a controller's containers."""
    found = await controller(space, pod)
    node = space.lab.nodes[found["spec"]["nodeName"]]
    pids = [pid for container in CONTAINERS for pid in node.containers(pod, container)]
    assert len(pids) == len(CONTAINERS)
    return pids


async def has_ended(space: Space, pod: str) -> bool | None:
    """True when a sidecar of `pod` was started again."""
    return restarts(await controller(space, pod)) > 0 or None


async def allowed(space: Space, claim: str) -> list[str]:
    """The host NQNs that the storage node lets to a claim's volume."""
    pv = await space.get("pv", await space.bound(claim))
    uuid = pv["spec"]["csi"]["volumeHandle"].rpartition("/")[2]
    async with space.lab.hardware.spdk("storage-a") as spdk:
        return [host for one in await nvmf_get_subsystems(spdk) if one.nqn.endswith(uuid) for host in one.hosts]


async def recorded(space: Space, claim: str) -> list[str]:
    """The host NQNs of its VolumeAttachments."""
    pv = await space.bound(claim)
    listed = await space.items("volumeattachment")
    ours = [one for one in listed if one["spec"]["source"]["persistentVolumeName"] == pv]
    return [one["status"]["attachmentMetadata"]["hostnqn"] for one in ours]
