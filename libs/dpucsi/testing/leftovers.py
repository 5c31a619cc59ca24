"""What a lab may leave on this machine: mounts and loop devices below its folder."""

import json
import subprocess
from pathlib import Path

from dpucsi.aio import wait_until


def loop_devices(root: Path) -> list[str]:
    """Files below `root` that a loop device stands on."""
    listed = subprocess.run(["losetup", "--json", "--output", "BACK-FILE"], capture_output=True, check=True, text=True)
    rows = json.loads(listed.stdout)["loopdevices"] if listed.stdout.strip() else []
    return sorted(str(row["back-file"]) for row in rows if str(row["back-file"]).startswith(str(root)))


def mounts(root: Path) -> list[str]:
    """Mount points below `root`, one entry for each mount."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(point for point in (line.split()[4] for line in lines) if point.startswith(str(root)))


async def no_loop_devices(root: Path, timeout_s: float = 10.0) -> None:
    """Returns when no loop device stands on a file below `root`; TimedOutError where one stays.

    A detached loop device goes with its last open descriptor, and a child between fork and exec holds all of ours.
    """

    async def gone() -> bool | None:
        return None if loop_devices(root) else True

    await wait_until(gone, f"no loop device below {root}", timeout_s=timeout_s)
