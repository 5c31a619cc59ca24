"""From a claim to a mounted pod on Kubernetes, beside a driver that does next to nothing, in the same run.

    python benchmarks/kube.py                        # as root; needs the tools of tests/e2e/kube/tools
    python benchmarks/kube.py --rounds 20 --json kube.json

One lab cluster (dpucsi.testing.kube) has our driver as the chart installs it, and on one Host the CSI mock of
Kubernetes' own tests with the same sidecars: its volume is a local sparse file that NodeStage loop-mounts. What both
have in common is Kubernetes' time: provisioner, scheduler, attach-detach controller, attacher and the kubelet's own
waiting. Both get the same claim (1 GiB, ext4) and the same pod on the same Host, in turns, every other round in
reverse. The clock starts before claim and pod are sent together, and stops when the pod's container says that /data is
a mount.

The kubelet looks every 300 ms whether a pod's volumes are there, so what a driver takes shows in these times as a step
or not at all. The second figure is the driver's alone: NodeStageVolume and NodePublishVolume, with the kubelet's calls
around them, between two lines of its log.
"""

import argparse
import asyncio
import dataclasses
import json
import re
import statistics
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, from anywhere

from rich.console import Console
from rich.table import Table
from tests.e2e.kube import objects
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space, is_gone

from benchmarks.mock_driver import MOCK_CLASS, MOCK_OBJECTS, MOCK_POD
from dpucsi.testing.kube.lab import KubeLab

HOST = "host-a"
OURS = "pool-a"
# What the kubelet says right before and right behind the two calls (k8s.io/kubernetes, GenerateMountVolumeFunc).
BEFORE, BEHIND = "MountVolume.WaitForAttach succeeded", "MountVolume.SetUp succeeded"
SAY_WHEN = shell("mountpoint -q /data; date +%s.%N > /tmp/result")


@dataclasses.dataclass(frozen=True)
class Round:
    """Seconds from the claim to the mount, and of these the driver's on the Host."""

    mounted: float
    driver: float


async def main(options: argparse.Namespace) -> int:
    """Both drivers in turns; prints a table, returns the exit code."""
    console = Console(highlight=False)
    lab = KubeLab()
    taken: dict[str, list[Round]] = {OURS: [], MOCK_CLASS: []}
    try:
        await lab.up(lambda step, seconds: console.print(f"{seconds:7.1f} s  {step}"))
        space = Space(lab, "bench")
        await lab.kubectl("create", "namespace", space.namespace)
        await lab.kubectl.apply(*MOCK_OBJECTS)
        await lab.kubectl.until("pod", MOCK_POD, _is_ready, "mock driver", namespace="kube-system", timeout_s=60)
        for number in range(-1, options.rounds):  # the first round warms up
            order = list(taken)[:: 1 if number % 2 else -1]
            for name in order:
                taken_now = await claim_to_mounted(space, name, f"{name}-{number + 1}")
                if number >= 0:
                    taken[name].append(taken_now)
        await lab.kubectl("delete", "namespace", space.namespace)
    finally:
        await lab.down()
    show(console, taken)
    if options.json:
        plain = {name: [dataclasses.asdict(one) for one in rounds] for name, rounds in taken.items()}
        options.json.write_text(json.dumps(plain, indent=1))
    return 0


async def claim_to_mounted(space: Space, storage_class: str, name: str) -> Round:
    """One round; the claim and the pod are gone when it returns."""
    spec = objects.pod_spec(SAY_WHEN, volumes=[objects.of_claim(name)], node=HOST, once=True)
    began = time.time()
    await space.apply(objects.claim(name, objects.claim_spec(storage_class, "1Gi")), objects.pod(name, spec))
    mounted = float(await space.result(name))
    pv = await space.bound(name)
    await space.delete_pod(name)
    await space.lab.kubectl.delete("pvc", name, namespace=space.namespace)
    await space.until("pv", pv, is_gone, "end")
    log = (space.lab.root / f"log/kubelet-{HOST}.log").read_text()
    return Round(mounted - began, driver_seconds(log, f'pod="{space.namespace}/{name}"'))


def driver_seconds(log: str, pod: str) -> float:
    """How long NodeStageVolume and NodePublishVolume took for `pod`, as the kubelet's log has it."""
    lines = [line for line in log.splitlines() if line.endswith(pod)]
    return (_moment(lines, BEHIND) - _moment(lines, BEFORE)) % timedelta(days=1) / timedelta(seconds=1)


def _moment(lines: list[str], words: str) -> datetime:
    """The time of day of the line with `words`; klog's time has no year."""
    for line in lines:
        stamp = re.match(r"I\d{4} ([\d:.]+)", line)
        if stamp and words in line:
            return datetime.strptime(stamp[1], "%H:%M:%S.%f")  # two of one machine are compared
    raise ValueError(f"the kubelet does not say {words!r} any more: see what it says instead, with -v=1")


def show(console: Console, taken: dict[str, list[Round]]) -> None:
    """The figures and their difference."""
    table = Table(
        "driver", "rounds", "claim to mounted: median s", "min", "max", "of it the driver's: median ms", "min", "max"
    )
    medians = {}
    for name, rounds in taken.items():
        mounted, driver = [one.mounted for one in rounds], [one.driver * 1000 for one in rounds]
        medians[name] = statistics.median(mounted) * 1000, statistics.median(driver)
        figures = [f"{of(mounted):.3f}" for of in (statistics.median, min, max)]
        table.add_row(name, str(len(rounds)), *figures, *(f"{of(driver):.0f}" for of in (statistics.median, min, max)))
    console.print(table)
    more = [ours - mock for ours, mock in zip(medians[OURS], medians[MOCK_CLASS], strict=True)]
    console.print(f"ours minus mock, medians: {more[0]:+.0f} ms from claim to mounted, {more[1]:+.0f} ms in the driver")


def _is_ready(found: dict[str, Any] | None) -> bool:
    conditions = found["status"].get("conditions", []) if found else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each driver is timed (default: 20)")
    parser.add_argument("--json", type=Path, help="also write the seconds of every round to this file")
    sys.exit(asyncio.run(main(parser.parse_args())))
