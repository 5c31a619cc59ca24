"""From a claim to a mounted pod on Kubernetes, beside a driver that does next to nothing, in the same run.

    python benchmarks/kube.py                        # as root; needs the tools of tests/e2e/kube/tools
    python benchmarks/kube.py --rounds 20 --json kube.json

One lab cluster (dpucsi.testing.kube) has our driver as the chart installs it, and on one Host the CSI mock of
Kubernetes' own tests with the same sidecars: its volume is a local sparse file that NodeStage loop-mounts. What both
have in common is Kubernetes' time: provisioner, scheduler, attach-detach controller, attacher and the kubelet's own
waiting. Both get the same claim (1 GiB, ext4) and the same pod on the same Host, in turns, every other round in
reverse. The clock starts before claim and pod are sent together, and stops when the pod's container says that /data is
a mount.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
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
SAY_WHEN = shell("mountpoint -q /data; date +%s.%N > /tmp/result")


async def main(options: argparse.Namespace) -> int:
    """Both drivers in turns; prints a table, returns the exit code."""
    console = Console(highlight=False)
    lab = KubeLab()
    taken: dict[str, list[float]] = {OURS: [], MOCK_CLASS: []}
    try:
        await lab.up(lambda step, seconds: console.print(f"{seconds:7.1f} s  {step}"))
        space = Space(lab, "bench")
        await lab.kubectl("create", "namespace", space.namespace)
        await lab.kubectl.apply(*MOCK_OBJECTS)
        await lab.kubectl.until("pod", MOCK_POD, _is_ready, "mock driver", namespace="kube-system", timeout_s=60)
        for number in range(-1, options.rounds):  # the first round warms up
            order = list(taken)[:: 1 if number % 2 else -1]
            for name in order:
                seconds = await claim_to_mounted(space, name, f"{name}-{number + 1}")
                if number >= 0:
                    taken[name].append(seconds)
        await lab.kubectl("delete", "namespace", space.namespace)
    finally:
        await lab.down()
    show(console, taken)
    if options.json:
        options.json.write_text(json.dumps(taken, indent=1))
    return 0


async def claim_to_mounted(space: Space, storage_class: str, name: str) -> float:
    """Seconds of one round; the claim and the pod are gone when it returns."""
    spec = objects.pod_spec(SAY_WHEN, volumes=[objects.of_claim(name)], node=HOST, once=True)
    began = time.time()
    await space.apply(objects.claim(name, objects.claim_spec(storage_class, "1Gi")), objects.pod(name, spec))
    mounted = float(await space.result(name))
    pv = await space.bound(name)
    await space.delete_pod(name)
    await space.lab.kubectl.delete("pvc", name, namespace=space.namespace)
    await space.until("pv", pv, is_gone, "end")
    return mounted - began


def show(console: Console, taken: dict[str, list[float]]) -> None:
    """The figures and their difference."""
    table = Table("driver", "rounds", "median s", "min", "max")
    for name, seconds in taken.items():
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, str(len(seconds)), *(f"{one:.3f}" for one in figures))
    console.print(table)
    ours, mock = (statistics.median(seconds) for seconds in taken.values())
    console.print(f"ours minus mock: {(ours - mock) * 1000:+.0f} ms (medians)")


def _is_ready(found: dict[str, Any] | None) -> bool:
    conditions = found["status"].get("conditions", []) if found else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each driver is timed (default: 20)")
    parser.add_argument("--json", type=Path, help="also write the seconds of every round to this file")
    sys.exit(asyncio.run(main(parser.parse_args())))
