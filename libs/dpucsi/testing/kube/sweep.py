"""What a lab may leave on this machine, and how it is taken away: processes, mounts, loop devices."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from dpucsi.aio import wait_until
from dpucsi.errors import UnavailableError
from dpucsi.testing.kube.loops import detach, loops_below, remove, still_there
from dpucsi.testing.kube.netns import NetworkNamespace
from dpucsi.testing.kube.process import command
from dpucsi.testing.leftovers import mounts

KILLED_S, DETACHED_S = 30.0, 15.0


async def kill_all(network: NetworkNamespace) -> None:
    """Kills whatever still lives in the lab's network namespace, where nothing else does; returns when all is gone."""

    async def gone() -> bool | None:
        for pid in (living := list(network.processes())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not living or None

    await wait_until(gone, "end of all processes in the lab's network namespace", timeout_s=KILLED_S)


async def clear(root: Path, loops: set[str]) -> None:
    """Unmounts and detaches what a card that was killed has left, and waits for the end of all devices in `loops`."""
    for point in reversed(_mounts(root)):
        with suppress(UnavailableError):
            command(["umount", "--lazy", point])
    detach(still_there(loops | loops_below(root), root))

    async def gone() -> bool | None:
        return not still_there(loops, root) or None

    await wait_until(gone, f"end of the loop devices {', '.join(sorted(loops))}", timeout_s=DETACHED_S)
    remove(loops)


def left(root: Path) -> list[str]:
    """What is left of a lab whose processes are gone, in words."""
    return [f"mount {point}" for point in mounts(root)] + [f"loop device {name}" for name in loops_below(root)]


def _mounts(root: Path) -> list[str]:
    return [point for point in mounts(root) if point != str(root / "net")]
