"""The lab itself: what may be killed comes back, and a Node that dies is one whose kernel has died."""

import pytest
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space

from dpucsi.testing.kube.lab import is_ready
from dpucsi.testing.kube.loops import loop_devices, loops_of_node
from dpucsi.testing.kube.node import BOOT_ID

HOST = "host-a"
SLEEP = shell("sleep infinity")


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"])
async def test_the_control_plane_goes_on_after_each_kill(space: Space, name: str):
    space.lab.processes[name].kill()
    await space.lab.start(name)
    await space.claim("data")
    assert await space.bound("data")


async def test_a_killed_kubelet_finds_its_pods_running(space: Space):
    await space.claim("data")
    await space.pod("user", SLEEP, claim="data", node=HOST)
    await space.running("user")
    before = space.lab.nodes[HOST].containers("user", "main")
    space.lab.nodes[HOST].kubelet.kill()
    await space.lab.nodes[HOST].start_kubelet()
    await space.lab.node_ready(HOST)
    assert space.lab.nodes[HOST].containers("user", "main") == before != []


async def test_a_node_that_died_boots_anew_and_its_pods_run_again(space: Space):
    node = space.lab.nodes[HOST]
    await space.claim("files")
    await space.pod("files", SLEEP, node=HOST)
    await space.claim("raw", block=True)
    await space.pod("raw", SLEEP, node=HOST, block=True)
    for name in ("files", "raw"):
        await space.running(name)
    boot_id = node.run(["cat", BOOT_ID])
    loops = loops_of_node(node.folder)
    assert loops, "the kubelet puts a loop device over a raw block volume"
    node.kill()
    assert not node.init.running
    assert not loops & loop_devices().keys()
    await space.until("node", HOST, lambda it: not is_ready(it), "NotReady")
    await node.start()
    assert node.run(["cat", BOOT_ID]) != boot_id
    await space.lab.node_ready(HOST)
    for name in ("files", "raw"):
        await space.until("pod", name, _runs_again, "second start")


def _runs_again(found):
    statuses = found["status"].get("containerStatuses", []) if found else []
    return any("running" in one["state"] and one["restartCount"] == 1 for one in statuses)
