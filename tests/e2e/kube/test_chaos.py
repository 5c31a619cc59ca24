"""Random kills while claims are provisioned, attached, written, read back, detached and deleted: all ends well.

DPUCSI_CHAOS_S=600 DPUCSI_CHAOS_CLAIMS=50 DPUCSI_CHAOS_SEEDS=1,2,3 make test-kube ARGS="-k chaos"
"""

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from tests.e2e.kube.conftest import Shows
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import GONE_S, Space, is_gone

from dpucsi.errors import UnavailableError

ResultT = TypeVar("ResultT")
DURATION_S = float(os.environ.get("DPUCSI_CHAOS_S", "60"))
CLAIMS = int(os.environ.get("DPUCSI_CHAOS_CLAIMS", "12"))
SEEDS = [int(seed) for seed in os.environ.get("DPUCSI_CHAOS_SEEDS", "5").split(",")]
AT_ONCE = 5
LIFE_S = 300.0  # of one claim, among kills that come every few seconds
PAUSE_S = (1.0, 6.0)  # between two kills

CONTAINERS = (
    ("control", "dpucsi-controller", "csi-controller"),
    ("control", "dpucsi-controller", "csi-provisioner"),
    ("control", "dpucsi-controller", "csi-attacher"),
    *(
        (f"host-{side}", "dpucsi-host", container)
        for side in "ab"
        for container in ("csi-node-host", "node-driver-registrar")
    ),
    *(
        (f"dpu-{side}", "dpucsi-dpu", container)
        for side in "ab"
        for container in ("csi-node-dpu", "volume-attacher", "opi-bridge")
    ),
)
PROCESSES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
KUBELETS = ("host-a", "host-b")


@pytest.mark.timeout(DURATION_S + 900)
@pytest.mark.parametrize("seed", SEEDS)
async def test_chaos(space: Space, seed: int, shows: Shows):
    kills: Counter[str] = Counter()
    chaos = asyncio.create_task(kill_at_random(space, random.Random(seed), kills))
    began = time.monotonic()
    try:
        lives = await all_lives(space, random.Random(seed + 1), until=began + DURATION_S)
    finally:  # what it killed is running again when it has ended
        chaos.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await chaos  # one that ended before its time says why
    await everything_runs(space)
    shows(f"seed {seed}: {sum(kills.values())} kills in {time.monotonic() - began:.0f} s, {lives} claims")
    shows("  " + ", ".join(f"{name} {count}" for name, count in sorted(kills.items())))
    assert lives >= CLAIMS and sum(kills.values()) > 0


async def all_lives(space: Space, rng: random.Random, until: float) -> int:
    """Lives one after the other in `AT_ONCE` lanes, at least `CLAIMS` and for as long as the chaos lasts."""
    numbers = iter(range(10_000))
    done = 0

    async def lane() -> None:
        nonlocal done
        for number in numbers:
            if number >= CLAIMS and time.monotonic() >= until:
                return
            await life(space, f"c{number}", rng.choice(("pool-a", "pool-b")), rng.sample(KUBELETS, 2))
            done += 1

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    return done


async def life(space: Space, name: str, storage_class: str, hosts: list[str]) -> None:
    """Claim, written on one Host, read on the other one, deleted."""
    first, second = hosts
    write = shell("head -c 65536 /dev/urandom > /data/file; sync /data/file; sha256sum < /data/file > /tmp/result")
    read = shell("sha256sum < /data/file > /tmp/result")
    await again(lambda: space.claim(name, storage_class, size="64Mi"))
    await again(lambda: space.pod(f"{name}-w", write, claim=name, node=first, once=True))
    wrote = await again(lambda: space.result(f"{name}-w", LIFE_S))
    await again(lambda: space.delete_pod(f"{name}-w"))
    await again(lambda: space.pod(f"{name}-r", read, claim=name, node=second, once=True))
    assert await again(lambda: space.result(f"{name}-r", LIFE_S)) == wrote
    await again(lambda: space.delete_pod(f"{name}-r"))
    await again(lambda: space.lab.kubectl.delete("pvc", name, namespace=space.namespace))
    await again(lambda: space.until("pvc", name, is_gone, "end", GONE_S))


async def kill_at_random(space: Space, rng: random.Random, kills: Counter[str]) -> None:
    """Kills one thing after the other, and starts again what no kubelet starts."""
    while True:
        await asyncio.sleep(rng.uniform(*PAUSE_S))
        victim = rng.choice((*CONTAINERS, *((name, "", "") for name in (*PROCESSES, *KUBELETS))))
        name, pod, container = victim
        if container:
            for pid in space.lab.nodes[name].containers(pod, container):
                with contextlib.suppress(ProcessLookupError):  # its kubelet was quicker
                    os.kill(pid, 9)
                    kills[f"{container}@{name}"] += 1
        elif name in KUBELETS:
            space.lab.nodes[name].kubelet.kill()
            await space.lab.nodes[name].start_kubelet()
            kills[f"kubelet@{name}"] += 1
        else:
            space.lab.processes[name].kill()
            await space.lab.start(name)
            kills[name] += 1


async def everything_runs(space: Space) -> None:
    """Every component is Ready again."""
    await again(
        lambda: space.lab.kubectl("wait", "pod", "--all", "-n", "dpucsi", "--for=condition=Ready", "--timeout=120s")
    )


async def again(act: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """kubectl fails while the API server is away: that is tried again, anything else is not."""
    end = time.monotonic() + LIFE_S
    while True:
        try:
            return await act()
        except UnavailableError:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.5)
