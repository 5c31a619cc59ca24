"""Two Hosts on one machine, each with an emulated card: what one remembers of a dead disk is never the other's disk.

They share the machine's loop devices and, here, even its list of mounts.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from dpucsi.aio import wait_until
from dpucsi.testing.lab import Lab
from dpucsi.testing.leftovers import loop_devices, mounts, no_loop_devices
from dpucsi.testing.orchestrator import Claim, Orchestrator

VOLUMES = 3


@asynccontextmanager
async def host(name: str) -> AsyncIterator[tuple[Lab, Orchestrator]]:
    root = Path(tempfile.mkdtemp(prefix=f"dpucsi-{name}-"))
    lab = Lab(root, extra={"card": ("--recovery", "3")})
    try:
        await lab.up()
        orchestrator = Orchestrator(lab)
        await orchestrator.learn_node()
        yield lab, orchestrator
        await orchestrator.close()
    finally:
        lab.down()
    await no_loop_devices(root)
    shutil.rmtree(root)


@pytest.mark.timeout(180)
async def test_a_dead_disk_is_never_another_host_s_new_one() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounts and loop devices need root")
    async with AsyncExitStack() as stack:
        lab_a, a = await stack.enter_async_context(host("a"))
        _, b = await stack.enter_async_context(host("b"))
        claim = Claim("dead")
        for _, act in a.forward(claim):
            await act()
        dead = a.target_path(claim).stat().st_dev

        # The card goes and comes back while the file system is still mounted, which keeps the old loop device.
        # Unmounted by hand, that one is free, and only the Host's record remembers its number.
        lab_a.processes["card"].kill()
        await lab_a.start("card")
        for point in (a.target_path(claim), a.staging_path(claim)):
            subprocess.run(["umount", point], check=True)
        await no_loop_devices_but(lab_a, "card/disks/nvme", count=1)

        others = [Claim(f"living-{number}") for number in range(VOLUMES)]
        for other in others:
            for _, act in b.forward(other):
                await act()
            (b.target_path(other) / "greeting").write_text(other.name)
        assert dead not in [b.target_path(other).stat().st_dev for other in others]

        for _, act in a.back(claim):
            await act()
        assert [(b.target_path(other) / "greeting").read_text() for other in others] == [one.name for one in others]
        for other in others:
            for _, act in b.back(other):
                await act()
        assert mounts(lab_a.root / "kubelet") == []


async def no_loop_devices_but(lab: Lab, below: str, count: int) -> None:
    """The card's own one for the disk that it shows again is there; the dead one's is not."""

    async def settled() -> bool | None:
        return True if len(loop_devices(lab.root / below)) == count else None

    await wait_until(settled, f"{count} loop device below {lab.root / below}", timeout_s=15)
