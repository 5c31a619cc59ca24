"""What the emulated data path gives: MB/s, IOPS and latency through all of it, many namespaces, CPU and memory at rest.

    python benchmarks/card.py
    python benchmarks/card.py --seconds 10 --namespaces 64 --json card.json

One lab (dpucsi.testing.lab), one volume with ext4: its file is written and read past the page cache by `fio` where that
is installed, and by the small measurement of `make quickstart` (dpucsi.testing.io_figures) always. Every byte goes from
the loop device through FUSE, the card, the DPU's SPDK and NVMe/TCP to the storage node's lvol. Then `--namespaces` raw
block volumes are attached at once to one function; each is written and read back, and what all processes take at rest
is measured over `--idle-s` seconds. What runs beside it is in the figures: leave the machine alone.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, from anywhere

from benchmarks.machine import describe, usage
from dpucsi.testing.io_figures import Figure, measure
from dpucsi.testing.lab import Lab
from dpucsi.testing.orchestrator import Claim, Orchestrator, block_capability

MIB = 1 << 20
NS_PER_MS = 1e6
JOBS = (
    ("sequential write", "write", "512k", 2),
    ("sequential read", "read", "512k", 2),
    ("random write", "randwrite", "4k", 8),
    ("random read", "randread", "4k", 8),
    ("random write, one at a time", "randwrite", "4k", 1),
    ("random read, one at a time", "randread", "4k", 1),
)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each pattern (default: 5)")
    parser.add_argument("--namespaces", type=int, default=64, help="attached to one function (default: 64)")
    parser.add_argument("--idle-s", type=float, default=10.0, help="the window at rest (default: 10)")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parser.parse_args()


def with_fio(path: Path, seconds: float) -> list[Figure]:
    """The patterns of JOBS by fio, direct; none where fio is not installed."""
    if shutil.which("fio") is None:
        return []
    figures = []
    for name, pattern, size, depth in JOBS:
        ran = subprocess.run(
            [
                *("fio", "--name=card", f"--filename={path}", "--size=128m", "--direct=1", "--ioengine=libaio"),
                *(f"--rw={pattern}", f"--bs={size}", f"--iodepth={depth}", f"--runtime={seconds}", "--time_based"),
                "--output-format=json",
            ],
            capture_output=True,
            check=True,
        )
        job = json.loads(ran.stdout)["jobs"][0]["write" if "write" in pattern else "read"]
        latency = job["clat_ns"]["percentile"]
        figures.append(
            Figure(
                f"fio: {name}, {size}, {depth} at once",
                job["bw_bytes"] / MIB,
                job["iops"],
                latency["50.000000"] / NS_PER_MS,
                latency["99.000000"] / NS_PER_MS,
            )
        )
    path.unlink()
    return figures


async def one_volume(orchestrator: Orchestrator, seconds: float) -> list[Figure]:
    """Through a file system."""
    claim = Claim("bench-file", size_bytes=512 * MIB)
    for _, act in orchestrator.forward(claim):
        await act()
    file = orchestrator.target_path(claim) / "bench"
    figures = await asyncio.to_thread(with_fio, file, seconds)
    figures += await asyncio.to_thread(measure, file, 64 * MIB, seconds)
    for _, act in orchestrator.back(claim):
        await act()
    return figures


async def many_volumes(lab: Lab, orchestrator: Orchestrator, count: int, idle_s: float) -> dict[str, Any]:
    """Raw block, all on one function: seconds to attach and to take back, and what the processes take at rest."""
    claims = [Claim(f"bench-{n}", size_bytes=64 * MIB, capability=block_capability()) for n in range(count)]
    began = time.monotonic()
    await asyncio.gather(*(_up(orchestrator, claim) for claim in claims))
    attached_s = time.monotonic() - began
    await asyncio.to_thread(_prove, [orchestrator.target_path(claim) for claim in claims])
    pids = {name: process.pid for name, process in lab.processes.items() if process.running}
    at_rest = await asyncio.to_thread(usage, pids, idle_s)
    began = time.monotonic()
    await asyncio.gather(*(_down(orchestrator, claim) for claim in claims))
    return {
        "namespaces": count,
        "attached_s": attached_s,
        "taken_back_s": time.monotonic() - began,
        "at rest": {name: asdict(taken) for name, taken in at_rest.items()},
    }


async def _up(orchestrator: Orchestrator, claim: Claim) -> None:
    for _, act in orchestrator.forward(claim):
        await act()


async def _down(orchestrator: Orchestrator, claim: Claim) -> None:
    for _, act in orchestrator.back(claim):
        await act()


def _prove(devices: list[Path]) -> None:
    """Each device keeps bytes of its own."""
    for number, device in enumerate(devices):
        device.write_bytes(number.to_bytes(2, "big") * (MIB // 2))
    subprocess.run(["sync"], check=True)
    for number, device in enumerate(devices):
        with device.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if file.read(MIB) != number.to_bytes(2, "big") * (MIB // 2):
                raise RuntimeError(f"{device} does not hold what was written to it")


async def run(lab: Lab, chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything, on a lab of its own."""
    try:
        await lab.up()
        orchestrator = Orchestrator(lab)
        await orchestrator.learn_node()
        figures = await one_volume(orchestrator, chosen.seconds)
        many = await many_volumes(lab, orchestrator, chosen.namespaces, chosen.idle_s)
        await orchestrator.close()
        return {"figures": [asdict(figure) for figure in figures], "many": many}
    finally:
        lab.down()


def show(machine: dict[str, object], measured: dict[str, Any]) -> None:
    """Prints everything."""
    console = Console(width=120, highlight=False)
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()))
    table = Table(title="one volume, ext4, past the page cache; this is an emulator")
    for head in ("pattern", "MiB/s", "IOPS", "median ms", "p99 ms"):
        table.add_column(head, justify="left" if head == "pattern" else "right")
    for figure in measured["figures"]:
        numbers = [f"{figure[key]:.1f}" for key in ("mib_per_s", "iops", "median_ms", "p99_ms")]
        table.add_row(figure["pattern"], *numbers)
    console.print(table)
    many = measured["many"]
    table = Table(
        title=f"{many['namespaces']} namespaces on one function: attached in {many['attached_s']:.1f} s, "
        f"taken back in {many['taken_back_s']:.1f} s; at rest meanwhile"
    )
    for head in ("process", "RSS MiB", "private MiB", "CPU % of a core"):
        table.add_column(head, justify="left" if head == "process" else "right")
    for name, taken in many["at rest"].items():
        row = [f"{taken['rss_mib']:.1f}", f"{taken['private_mib']:.1f}", f"{taken['cpu_percent']:.2f}"]
        table.add_row(name, *row)
    console.print(table)


def main() -> int:
    """The exit code."""
    chosen = options()
    root = Path(tempfile.mkdtemp(prefix="dpucsi-card-"))
    lab = Lab(root, extra={"volume-attacher": ("--namespaces-per-function", str(max(chosen.namespaces, 32)))})
    machine = describe(root)
    try:
        measured = asyncio.run(run(lab, chosen))
    except BaseException:
        print(f"the logs are in {root / 'log'}", file=sys.stderr)
        raise
    show(machine, measured)
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": machine, **measured}, indent=1) + "\n")
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
