"""Everything is replaced or killed under pods that write: no I/O error, no remount."""

import asyncio

import pytest
from tests.e2e.kube.load import acknowledged, check_durable, progress, start_load
from tests.e2e.kube.space import Space

ROLLOUT_S = 180
PODS = {"on-a": "host-a", "on-b": "host-b"}  # each Host has a volume of one storage node
CLASSES = {"on-a": "pool-a", "on-b": "pool-b"}


@pytest.fixture
async def loaded(space: Space):
    """Two pods that write; behind the case every acknowledged line is looked for."""
    await asyncio.gather(
        *(start_load(space, name, storage_class=CLASSES[name], node=node) for name, node in PODS.items())
    )
    before = {name: await mounted(space, name) for name in PODS}
    yield space
    assert {name: await mounted(space, name) for name in PODS} == before, "a volume was mounted anew"
    await asyncio.gather(*(lost_nothing(space, name) for name in PODS))


async def lost_nothing(space: Space, name: str) -> None:
    """Ends a pod that writes, and looks for all it was told to be durable."""
    lines = await acknowledged(space, name)
    await space.delete_pod(name)
    await check_durable(space, name, PODS[name], lines[-1].number)


async def mounted(space: Space, name: str) -> set[str]:
    """The mounts of a pod's volume as the Host's kernel numbers them: another number is another mount."""
    pv = await space.bound(name)
    node = space.lab.nodes[PODS[name]]
    rows = [row.split() for row in node.path("/proc/1/mountinfo").read_text().splitlines()]
    found = {f"{row[0]} {row[2]} {row[4]}" for row in rows if pv in row[4]}
    assert found, f"no mount of {pv} on {node.name}"
    return found


@pytest.mark.parametrize(
    "what",
    ["deployment/dpucsi-controller", "daemonset/dpucsi-host", "daemonset/dpucsi-dpu"],
)
async def test_a_rolling_update_is_not_felt(loaded: Space, what: str):
    await loaded.lab.kubectl("rollout", "restart", what, "-n", "dpucsi")
    await loaded.lab.kubectl("rollout", "status", what, "-n", "dpucsi", f"--timeout={ROLLOUT_S}s")
    await asyncio.gather(*(progress(loaded, name) for name in PODS))


async def test_kubelets_are_started_again(loaded: Space):
    for node in ("host-a", "host-b"):
        loaded.lab.nodes[node].kubelet.stop()
        await loaded.lab.nodes[node].start_kubelet()
    await asyncio.gather(*(progress(loaded, name) for name in PODS))


@pytest.mark.parametrize("name", ["storage-a", "spdk-a"])
async def test_killed_spdks_get_back_what_they_had(loaded: Space, name: str):
    """Nobody but csi-controller remembers a storage node's exports, nobody but opi-bridge a DPU's attachments."""
    loaded.lab.processes[name].kill()
    await loaded.lab.start(name)
    await asyncio.gather(*(progress(loaded, pod) for pod in PODS))


async def test_storage_and_dpu_killed_together(loaded: Space):
    for name in ("storage-b", "spdk-b", "spdk-a"):
        loaded.lab.processes[name].kill()
    for name in ("spdk-b", "spdk-a", "storage-b"):
        await loaded.lab.start(name)
    await asyncio.gather(*(progress(loaded, pod) for pod in PODS))
