"""A Host dies with a volume mounted, the volume is taken from it, and it comes back: detached, and clean.

"Reboot" is what a reboot means to the services: csi-node-host gone, its mounts gone, and another boot id when it is
back. In the second half of the cases the DPU loses its power with its Host.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from dpucsi.testing.lab import Lab
from dpucsi.testing.leftovers import mounts
from dpucsi.testing.orchestrator import Claim, Orchestrator
from dpucsi.testing.snapshot import State, comes_to, snapshot

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

GREETING = "hello"
DPU = ("csi-node-dpu", "volume-attacher", "opi-bridge", "dpu", "card")
UNMOUNT_S = 40.0  # an unmount waits for what was not written until I/O fails without a path
BOOT = "from pathlib import Path; import csi_node_host.app as app; app.BOOT_ID = Path({file!r}); "
MAIN = "from csi_node_host.__main__ import main; main()"


class Host:
    """The lab's csi-node-host with a boot id of its own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._process = lab.processes["csi-node-host"]
        self._argv = self._process.argv
        self._file = lab.root / "boot_id"

    async def die(self) -> None:
        self._process.kill()

    async def boot(self, *options: str) -> None:
        """Its mounts went with its kernel."""
        points = [point for point in mounts(self._lab.root) if "/kubelet/" in point]
        for point in reversed(points):
            unmounting = await asyncio.create_subprocess_exec("umount", point)
            await asyncio.wait_for(unmounting.wait(), UNMOUNT_S)
        assert [point for point in mounts(self._lab.root) if "/kubelet/" in point] == []
        self._file.write_text(f"{uuid4()}\n")
        code = BOOT.format(file=str(self._file)) + MAIN
        self._process.argv = [sys.executable, "-c", code, *self._argv[3:], *options]
        await self._lab.start("csi-node-host")

    async def restore(self) -> None:
        """As before; another boot for the DPU."""
        self._process.stop()
        self._file.write_text(f"{uuid4()}\n")
        self._process.argv = [sys.executable, "-c", BOOT.format(file=str(self._file)) + MAIN, *self._argv[3:]]
        await self._lab.start("csi-node-host")


@pytest_asyncio.fixture(loop_scope="session")
async def host(lab: Lab) -> AsyncIterator[Host]:
    host = Host(lab)
    yield host
    await host.restore()


async def dead_and_fenced(lab: Lab, orchestrator: Orchestrator, host: Host, claim: Claim, *, with_dpu: bool) -> None:
    for _, act in orchestrator.forward(claim):
        await act()
    data = orchestrator.target_path(claim) / "greeting"
    data.write_text(GREETING)
    await (await asyncio.create_subprocess_exec("sync", str(data))).wait()
    await host.die()
    if with_dpu:
        for name in DPU:
            lab.processes[name].kill()
    await orchestrator.unpublish(claim)
    if with_dpu:
        for name in reversed(DPU):
            await lab.start(name)


async def is_readable_and_goes(lab: Lab, orchestrator: Orchestrator, claim: Claim, baseline: State) -> None:
    assert (orchestrator.target_path(claim) / "greeting").read_text() == GREETING
    for _, act in orchestrator.back(claim):
        await act()
    await comes_to(lab, baseline)


@pytest.mark.parametrize("with_dpu", [False, True], ids=["dpu alive", "dpu too"])
async def test_kubelet_unstages_what_it_finds(
    lab: Lab, orchestrator: Orchestrator, baseline: State, host: Host, with_dpu: bool
) -> None:
    claim = Claim("dead-unstage")
    await dead_and_fenced(lab, orchestrator, host, claim, with_dpu=with_dpu)
    await host.boot()
    await orchestrator.node_unpublish(claim)
    await orchestrator.unstage(claim)
    state = await snapshot(lab)
    for where in ("dpu", "opi", "attachments", "host namespaces", "mounts"):
        assert state[where] == baseline[where]
    for _, act in orchestrator.forward(claim)[1:]:
        await act()
    await is_readable_and_goes(lab, orchestrator, claim, baseline)


@pytest.mark.parametrize("with_dpu", [False, True], ids=["dpu alive", "dpu too"])
async def test_a_pod_comes_back_to_the_node_before_anything_was_unstaged(
    lab: Lab, orchestrator: Orchestrator, baseline: State, host: Host, with_dpu: bool
) -> None:
    claim = Claim("dead-again")
    await dead_and_fenced(lab, orchestrator, host, claim, with_dpu=with_dpu)
    await host.boot()
    for _, act in orchestrator.forward(claim)[1:]:
        await act()
    await is_readable_and_goes(lab, orchestrator, claim, baseline)


@pytest.mark.parametrize("with_dpu", [False, True], ids=["dpu alive", "dpu too"])
async def test_nobody_asks_for_it_any_more(
    lab: Lab, orchestrator: Orchestrator, baseline: State, host: Host, with_dpu: bool
) -> None:
    claim = Claim("dead-forgotten")
    await dead_and_fenced(lab, orchestrator, host, claim, with_dpu=with_dpu)
    await orchestrator.delete(claim)
    await host.boot("--forgotten-after", "0.5")
    await comes_to(lab, baseline, timeout_s=30)
