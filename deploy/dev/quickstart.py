"""One volume through its whole life on the emulated DPU: `make quickstart`, with ARGS=--keep or ARGS=--faults.

Starts a storage node, a DPU and the five services below a folder of its own, creates, publishes, stages and mounts one
volume with the real mkfs and mount, writes and reads a file through it, and takes everything back. Each step is printed
with the time that every hop took, from the services' own logs. Nothing of it stays: no process, mount, loop device,
socket or file.
"""

import argparse
import asyncio
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dpucsi import observe
from dpucsi.errors import DpucsiError
from dpucsi.testing.faults_story import FaultsStory
from dpucsi.testing.hops import HOPS, hop_times
from dpucsi.testing.io_figures import Figure, measure
from dpucsi.testing.lab import Lab
from dpucsi.testing.leftovers import loop_devices, mounts
from dpucsi.testing.orchestrator import Claim, Orchestrator, as_request, mount_capability

console = Console(highlight=False, width=max(Console().width, 120))
FILE_BYTES = 16 << 20
FIGURE_S = 1.0
# In the story nobody waits half a minute until I/O without a path fails.
SOON = ("--fast-io-fail-timeout", "12", "--reconnect-delay", "1")


@dataclass
class Step:
    """One line of the table."""

    name: str
    ms: float
    request_id: str


async def main(options: argparse.Namespace) -> int:
    """The whole story; returns the exit code."""
    root = Path(tempfile.mkdtemp(prefix="dpucsi-"))
    lab = Lab(root, extra={"opi-bridge": SOON} if options.faults else {})
    claim = Claim("quickstart", size_bytes=512 << 20, capability=mount_capability(options.fs_type))
    steps: list[Step] = []
    figures: list[Figure] = []
    is_proven = True
    try:
        began = time.monotonic()
        with console.status("starting a storage node, a DPU and five services"):
            await lab.up()
        console.print(f"a storage node, a DPU and five services run below {root} ({time.monotonic() - began:.1f} s)")
        orchestrator = Orchestrator(lab)
        await orchestrator.learn_node()
        await play(orchestrator.forward(claim), steps)
        await play([("write and read a file", lambda: prove(orchestrator.target_path(claim)))], steps)
        await play([("NodeGetVolumeStats", lambda: orchestrator.stats(claim))], steps)
        with console.status("measuring"):
            figures += await asyncio.to_thread(measure, orchestrator.target_path(claim) / "measured", seconds=FIGURE_S)
        if options.faults:
            as_request("faults")  # its calls are not a step's
            is_proven = await FaultsStory(say, lab, orchestrator, claim).tell()
        if options.keep:
            show(lab, steps, figures)
            await keep(lab, claim)
        await play(orchestrator.back(claim), steps)
        await orchestrator.close()
        if not options.keep:
            show(lab, steps, figures)
    except DpucsiError as error:
        console.print(f"[red]{error}[/red]\nthe logs are in {root / 'log'}")
        return 1
    finally:
        lab.down()
    return clean_up(root) if is_proven else 1


def say(text: str) -> None:
    """One line, as long as it is."""
    console.print(text, soft_wrap=True)


async def play(story: list[tuple[str, Callable[[], Awaitable[object]]]], steps: list[Step]) -> None:
    """Runs the steps, each under a request id of its own, and notes how long each took."""
    for name, act in story:
        request_id = f"step-{len(steps)}"
        as_request(request_id)
        began = time.perf_counter()
        with console.status(name):
            await act()
        steps.append(Step(name, (time.perf_counter() - began) * 1e3, request_id))
        console.print(f"  {name:<28}{steps[-1].ms:9.1f} ms")


async def prove(mounted: Path) -> None:
    """Writes a file through the mount, makes it durable, and reads the same bytes back from the device."""
    data = os.urandom(FILE_BYTES)
    path = mounted / "proof"
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(data).digest():
        raise RuntimeError("the file read back is not the file written: do not trust this machine with anything")


def show(lab: Lab, steps: list[Step], figures: list[Figure]) -> None:
    """The tables: a column per hop, the time inside that service including what lies behind it; what the disk gave."""
    hops = hop_times(lab)
    table = Table(title="milliseconds in each service, what lies behind it included")
    table.add_column("step")
    table.add_column("caller", justify="right")
    for hop in HOPS:
        table.add_column(hop, justify="right")
    for step in steps:
        times = hops.get(step.request_id, {})
        cells = [
            f"{times[hop].ms:.1f}" + (f" ({times[hop].calls} calls)" if times[hop].calls > 1 else "")
            if hop in times
            else ""
            for hop in HOPS
        ]
        table.add_row(step.name, f"{step.ms:.1f}", *cells)
    console.print(table)
    console.print(
        "csi-node-host to csi-node-dpu is TCP with mTLS, certificates made just now; all else is unix sockets"
    )
    table = Table(title="the mounted volume, past the page cache; this is an emulator")
    for head in ("pattern", "MiB/s", "IOPS", "median ms", "p99 ms"):
        table.add_column(head, justify="left" if head == "pattern" else "right")
    for figure in figures:
        numbers = (figure.mib_per_s, figure.iops, figure.median_ms, figure.p99_ms)
        table.add_row(figure.pattern, *(f"{number:.1f}" for number in numbers))
    console.print(table)


async def keep(lab: Lab, claim: Claim) -> None:
    """Says how to look around, and waits for Ctrl-C or SIGTERM."""
    tls = lab.certificates.folder
    console.print("\nIt is all still running. Try (grpcurl: see docs/grpcurl.md):\n", soft_wrap=True)
    for name in ("csi-controller", "csi-node-host", "volume-attacher", "opi-bridge"):
        console.print(f"  grpcurl -plaintext -unix {lab.socket(name)} list", soft_wrap=True)
    address = lab.endpoint("csi-node-dpu").removeprefix("tcp://")
    console.print(
        f"  grpcurl -cacert {tls}/ca.pem -cert {tls}/host.pem -key {tls}/host.key {address} "
        "dpucsi.node.v1.NodeService/GetInfo",
        soft_wrap=True,
    )
    console.print(
        f"  grpcurl -plaintext -unix {lab.socket('volume-attacher')} "
        "dpucsi.attacher.v1.AttacherService/ListAttachments",
        soft_wrap=True,
    )
    console.print(
        f"  grpcurl -plaintext -unix {lab.socket('opi-bridge')} "
        "opi_api.storage.v1.FrontendNvmeService/ListNvmeSubsystems",
        soft_wrap=True,
    )
    console.print(f"\nThe volume is {claim.volume_id}, mounted below {lab.root}/kubelet. Ctrl-C takes it all back.\n")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def clean_up(root: Path) -> int:
    """Proves that nothing is left, and removes the folder; keeps it where something is."""
    left = [*(f"mount {point}" for point in mounts(root)), *(f"loop device on {file}" for file in loop_devices(root))]
    left += [f"socket {path}" for path in root.rglob("*.sock")]
    if left:
        console.print(f"[red]left behind: {', '.join(left)}[/red]")
        return 1
    shutil.rmtree(root)
    console.print("all taken back: no process, mount, loop device or socket is left")
    return 0


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--keep", action="store_true", help="leave it running with the volume mounted, until Ctrl-C")
    parser.add_argument("--faults", action="store_true", help="play two minutes of failures under write load as well")
    parser.add_argument("--fs-type", choices=("ext4", "xfs"), default="ext4", help="file system (default: ext4)")
    return parser.parse_args()


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("quickstart mounts a file system and makes loop devices: run it as root")
    observe.configure("quickstart", log_format="console", log_level="warning")
    sys.exit(asyncio.run(main(options())))
