"""What a lab may leave on this machine: mounts and loop devices below its folder."""

import json
import subprocess
from pathlib import Path


def loop_devices(root: Path) -> list[str]:
    """Files below `root` that a loop device stands on."""
    listed = subprocess.run(["losetup", "--json", "--output", "BACK-FILE"], capture_output=True, check=True, text=True)
    rows = json.loads(listed.stdout)["loopdevices"] if listed.stdout.strip() else []
    return sorted(str(row["back-file"]) for row in rows if str(row["back-file"]).startswith(str(root)))


def mounts(root: Path) -> list[str]:
    """Mount points below `root`, one entry for each mount."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(point for point in (line.split()[4] for line in lines) if point.startswith(str(root)))
