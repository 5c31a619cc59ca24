"""The machine under the figures, and what the processes on it take."""

import os
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Resident memory in MiB, and the share of one core in percent over the window."""

    rss_mib: float
    private_mib: float
    cpu_percent: float


def describe(state_folder: Path) -> dict[str, object]:
    """Cores, kernel, load and what a commit costs where the state lies."""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "state folder": str(state_folder.resolve()),
        "fdatasync ms": round(fdatasync_ms(state_folder), 2),
    }


def fdatasync_ms(folder: Path, times: int = 50) -> float:
    """The median of making 4 KiB durable at the end of a file."""
    path = folder / "fdatasync"
    spent = []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append((time.perf_counter() - began) * 1e3)
    path.unlink()
    return statistics.median(spent)


def usage(pids: Mapping[str, int], window_s: float) -> dict[str, Usage]:
    """Blocks for the window, in which nothing should be asked of the processes."""
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    began = time.monotonic()
    time.sleep(window_s)
    elapsed = time.monotonic() - began
    return {
        name: Usage(*_memory_mib(pid), cpu_percent=(_cpu_s(pid) - before[name]) / elapsed * 100)
        for name, pid in pids.items()
    }


def _cpu_s(pid: int) -> float:
    # utime and stime are fields 14 and 15 of proc(5)'s stat; the command in field 2 may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory_mib(pid: int) -> tuple[float, float]:
    found = {"Rss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in found:
            found[key] = int(value.split()[0])
    return found["Rss"] / 1024, (found["Private_Clean"] + found["Private_Dirty"]) / 1024
