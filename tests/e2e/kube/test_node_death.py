"""A node dies while its pod writes: the volume moves, the old DPU is fenced first, and nothing of it arrives later."""

import os
import signal
from datetime import UTC, datetime

import pytest
from tests.e2e.kube import objects
from tests.e2e.kube.conftest import Shows
from tests.e2e.kube.load import load_spec, parse, progress
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space

from dpucsi.aio import wait_until

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
# Dirties more than the kernel writes back by itself, and never waits for any of it.
_DIRTY = "(while :; do head -c 8388608 /dev/urandom | dd of=/data/dirty bs=1M conv=notrunc 2>/dev/null; done) & "
DEAD, ALIVE = "host-a", "host-b"


@pytest.mark.parametrize("dpu", ["its DPU works on", "its DPU stopped, dirty pages to write"])
async def test_the_volume_of_a_dead_node_moves(space: Space, dpu: str, shows: Shows):
    stopped = dpu.startswith("its DPU stopped")
    lab, kubectl = space.lab, space.lab.kubectl
    await space.claim("data", "pool-a")
    old = load_spec("data", DEAD)
    old["containers"][0]["command"] = shell(_DIRTY + old["containers"][0]["command"][-1])
    await space.apply(objects.pod("old", old))
    await space.running("old")
    await progress(space, "old", 50)
    uid = (await space.get("pod", "old"))["metadata"]["uid"]
    node = lab.nodes[DEAD]
    if stopped:
        lab.processes["spdk-a"].pause()
    node.kill()
    await space.until("node", DEAD, _not_ready, "NotReady", 60)
    await kubectl("taint", "node", DEAD, OUT_OF_SERVICE)
    attachment = await _attachment(space)
    await wait_until(lambda: _gone(space, attachment), f"fence of {DEAD}", timeout_s=120)
    fenced = datetime.now(UTC)
    try:
        await space.apply(objects.pod("new", load_spec("data", ALIVE)))
        await space.running("new")
        await progress(space, "new", 50)
        before = await _digests(space, "new")
    finally:
        if stopped:
            os.kill(lab.processes["spdk-a"].pid, signal.SIGCONT)
    # What the old node still holds, its DPU now tries to write; when that has failed the last process of it ends.
    await node.gone()
    await progress(space, "new", 50)
    first = parse(str(await kubectl("logs", "new", "-n", space.namespace, "--timestamps")))[0]
    last = parse(node.log_of(uid))[-1]
    shows(
        f"{dpu}: last acknowledged write of the old node {last.at.time()}, fence seen {fenced.time()}, "
        f"first write of the new node {first.at.time()}"
    )
    assert last.at < fenced < first.at
    await space.delete_pod("new")  # what the kernel has cached goes with the mount
    await _look_again(space, before, last.number)
    await kubectl("taint", "node", DEAD, OUT_OF_SERVICE + "-")
    await node.start()
    await space.until("node", DEAD, lambda it: not _not_ready(it), "Ready", 90)


def _not_ready(found):
    return next(one for one in found["status"]["conditions"] if one["type"] == "Ready")["status"] != "True"


async def _attachment(space: Space) -> str:
    pv = await space.bound("data")
    listed = await space.items("volumeattachment")
    return next(str(one["metadata"]["name"]) for one in listed if one["spec"]["source"]["persistentVolumeName"] == pv)


async def _gone(space: Space, attachment: str) -> bool | None:
    return True if await space.lab.kubectl.get("volumeattachment", attachment) is None else None


async def _digests(space: Space, pod: str) -> str:
    """What the file system holds of the old node, as the new pod reads it."""
    pv = await space.bound("data")
    found = await space.get("pod", pod)
    folder = f"/var/lib/kubelet/pods/{found['metadata']['uid']}/volumes/kubernetes.io~csi/{pv}/mount"
    host = space.lab.nodes[ALIVE]
    return str(host.run(["sh", "-c", f"cd {folder} && sha256sum on-{DEAD} dirty"]))


async def _look_again(space: Space, before: str, acknowledged: int) -> None:
    """A fresh mount shows the same bytes of the old node, with all that it was told to be durable."""
    script = f"cd /data; sha256sum on-{DEAD} dirty > /tmp/result; seq {acknowledged} > /tmp/wanted; "
    script += f"head -n {acknowledged} on-{DEAD} | cmp - /tmp/wanted"
    await space.pod("look", shell(script), claim="data", node=ALIVE, once=True)
    assert await space.result("look") == before.strip()
    await space.delete_pod("look")
