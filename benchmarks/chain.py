"""What the whole chain costs: rounds, milliseconds and memory, beside the bare JSON-RPC calls in the same run.

    python benchmarks/chain.py                                      # on the emulator
    python benchmarks/chain.py --spdk-tgt /path/to/spdk_tgt --json real.json
    python benchmarks/chain.py --state-folder /dev/shm/state        # where a commit costs nothing
    python benchmarks/chain.py --python /opt/dpucsi/bin/python      # services installed without extras, as on a DPU

Memory: this environment has `rich`, which the log library loads where it finds it (5 MiB a process); a DPU has not.

One lab is started (dpucsi.testing.lab: storage node, DPU and the five services, as processes) and used twice:

1. With a tap (tap.py) between each service and its SPDK. Calls, their order and rounds come from here.
2. Without. Times come from here. In each round of the benchmark the operations go once through the services, once as
   "the same calls" (bare.py: the recorded calls by hand on one lasting raw connection to each SPDK, with the recorded
   concurrency), and once as "the changes alone" (of these calls, only those that change something: what a caller could
   do who knew everything and checked nothing). The three take turns, every other round in reverse, so that a slow
   minute of the machine is in all of them. Attach is called as csi-node-host calls it: all four hops, TCP with mTLS.

A real `spdk_tgt` polls and takes all of a core. The lab gives each of the two a core of its own on the lowest priority,
as far as a machine of two cores has them: the services run beside them, and while one runs, the SPDK of that core does
not look at its socket. Tried on two cores (median of a round, of an attach, both bare): both on one core 16 and 196 ms;
a core each 9 and 91 ms; a core each and nice 19 4 and 78 ms (taken); a core each and SCHED_IDLE 8 and 74 ms; the
storage node in interrupt mode 8 and 69 ms. What else runs on the machine is in the figures too: leave it alone
meanwhile. The load before and after is printed.

`SPDK_TGT` in the environment is the default of `--spdk-tgt`.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script, from anywhere

from benchmarks.measure import Measured, measure
from benchmarks.report import as_json, show
from dpucsi.testing.lab import SERVICES, Lab


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    tgt = os.environ.get("SPDK_TGT", "")
    parser.add_argument("--spdk-tgt", default=tgt, help="a real spdk_tgt instead of the emulator (default: $SPDK_TGT)")
    parser.add_argument("--driver", choices=("emulated", "nvmf-tcp", "vfio-user"), help="of the DPU")
    parser.add_argument("--rounds", type=int, default=20, help="how often each operation is timed (default: 20)")
    parser.add_argument("--at-once", type=int, default=32, help="CreateVolume at the same time (default: 32)")
    parser.add_argument("--idle-s", type=float, default=10.0, help="the window of idle CPU (default: 10)")
    parser.add_argument("--state-folder", type=Path, help="where the services keep their records (default: the lab's)")
    parser.add_argument("--pin", type=int, metavar="CORE", help="keep the services and the callers on this core")
    parser.add_argument(
        "--python", default=sys.executable, help="the services' interpreter: one without extras has a DPU's memory"
    )
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parser.parse_args()


def make_lab(root: Path, chosen: argparse.Namespace) -> Lab:
    """As the options say."""
    if chosen.state_folder is not None:
        chosen.state_folder.mkdir(parents=True)  # not one that exists: it is removed afterwards
        (root / "state").symlink_to(chosen.state_folder.resolve())
    spdk_tgt = Path(chosen.spdk_tgt) if chosen.spdk_tgt else None
    driver = chosen.driver or ("nvmf-tcp" if spdk_tgt else "emulated")
    lab = Lab(root, spdk_tgt=spdk_tgt, driver=driver, python=chosen.python)
    if chosen.pin is not None:
        for name in SERVICES:
            lab.processes[name].argv[:0] = ["taskset", "--cpu-list", str(chosen.pin)]
    return lab


async def run(lab: Lab, chosen: argparse.Namespace) -> Measured:
    """Everything, on a lab of its own."""
    try:
        await lab.up()
        if chosen.pin is not None:  # not before: both SPDKs would inherit it
            os.sched_setaffinity(0, {chosen.pin})
        return await measure(lab, rounds=chosen.rounds, at_once=chosen.at_once, idle_s=chosen.idle_s)
    finally:
        lab.down()


def main() -> int:
    """The exit code."""
    chosen = options()
    root = Path(tempfile.mkdtemp(prefix="dpucsi-bench-"))
    lab = make_lab(root, chosen)
    try:
        measured = asyncio.run(run(lab, chosen))
    except BaseException:
        print(f"the logs are in {root / 'log'}", file=sys.stderr)
        raise
    show(measured)
    if chosen.json:
        result: dict[str, Any] = as_json(measured)
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(root)
    if chosen.state_folder is not None:
        shutil.rmtree(chosen.state_folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
