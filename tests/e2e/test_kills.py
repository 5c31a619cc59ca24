"""`kill -9` of every process, between the steps and in the middle of them: the orchestrator's retry converges, and
nothing is left. `DPUCSI_KILL_SEEDS=n` repeats the random part with n seeds (1 in CI).
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from dpucsi.aio import wait_until
from dpucsi.errors import DpucsiError
from dpucsi.testing.lab import SERVICES, SPDKS, Lab
from dpucsi.testing.orchestrator import Claim, Orchestrator
from dpucsi.testing.snapshot import State, comes_to

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

PROCESSES = (*SERVICES, *SPDKS)
STAGE_EVENTS = ("CreateNvmeRemoteController", "CreateNvmePath", "CreateNvmeNamespace", "NodeService/Attach")
UNSTAGE_EVENTS = ("DeleteNvmeNamespace", "DeleteNvmePath", "DeleteNvmeRemoteController", "AttacherService/Release")
SEEDS = range(int(os.environ.get("DPUCSI_KILL_SEEDS", "1")))


class Story:
    """One volume under kills. A storage node forgets its exports with its process; who remembers them, as Kubernetes'
    VolumeAttachments do, makes them again. Without (`remembers` False) the CO starts over from the publish."""

    def __init__(self, lab: Lab, orchestrator: Orchestrator, name: str, *, remembers: bool = True) -> None:
        self.lab = lab
        self.orchestrator = orchestrator
        self.claim = Claim(name, size_bytes=300 << 20)
        orchestrator.remembers = remembers

    async def forward(self, first: int = 0, last: int = 4) -> None:
        for _, act in self.orchestrator.forward(self.claim)[first:last]:
            await act()

    async def back(self) -> None:
        for _, act in self.orchestrator.back(self.claim):
            await act()

    async def stage(self) -> None:
        await self.orchestrator.stage(self.claim)

    async def stage_or_start_over(self) -> None:
        """Staging, and after a storage node's amnesia once more from the publish on."""
        patience, self.orchestrator._patience_s = self.orchestrator._patience_s, 5.0
        try:
            await self.stage()
        except DpucsiError:
            self.orchestrator._patience_s = patience
            await self.orchestrator.unstage(self.claim)
            await self.orchestrator.unpublish(self.claim)
            await self.orchestrator.publish(self.claim)
            await self.stage()
        finally:
            self.orchestrator._patience_s = patience

    async def kill(self, victim: str) -> None:
        self.lab.processes[victim].kill()
        await self.lab.start(victim)
        if victim == "storage":
            await self.orchestrator.exports_back()

    async def kill_when(self, victim: str, event: str, step: Callable[[], Awaitable[object]]) -> None:
        """Runs `step` and kills `victim` as soon as a service has logged the call `event`, which must come."""
        logs = {path: path.stat().st_size for path in (self.lab.root / "log").glob("*.log")}

        async def said() -> bool | None:
            return any(event in new_text(path, size) for path, size in logs.items()) or None

        async def strike() -> None:
            await wait_until(said, event, timeout_s=60, first_s=0.001, longest_s=0.001)
            await self.kill(victim)

        striking = asyncio.create_task(strike())
        await step()
        await wait_until(said, f"{event} in a log, which is written behind the answer", timeout_s=5)
        await striking

    async def ends_as(self, before: State) -> None:
        """The state is as before, at the latest when the card has given up on what nobody attaches again."""
        await comes_to(self.lab, before)


def new_text(path: Path, since: int) -> str:
    with path.open(errors="replace") as file:
        file.seek(since)
        return file.read()


@pytest.mark.parametrize("victim", PROCESSES)
async def test_killed_between_the_steps(lab: Lab, orchestrator: Orchestrator, baseline: State, victim: str) -> None:
    story = Story(lab, orchestrator, f"between-{victim}")
    await story.kill(victim)
    await story.forward(0, 1)
    await story.kill(victim)
    await story.forward(1, 2)
    await story.kill(victim)
    await story.stage()
    await story.kill(victim)
    await story.forward(3)
    (orchestrator.target_path(story.claim) / "file").write_text("written")
    await story.kill(victim)
    assert (orchestrator.target_path(story.claim) / "file").read_text() == "written"
    for _, act in orchestrator.back(story.claim):
        await act()
        await story.kill(victim)
    await story.ends_as(baseline)


@pytest.mark.parametrize("event", STAGE_EVENTS)
@pytest.mark.parametrize("victim", PROCESSES)
async def test_killed_inside_stage(
    lab: Lab, orchestrator: Orchestrator, baseline: State, victim: str, event: str
) -> None:
    story = Story(lab, orchestrator, f"stage-{victim}-{event.replace('/', '-')}".lower())
    await story.forward(0, 2)
    await story.kill_when(victim, event, story.stage)
    await story.forward(3)
    (orchestrator.target_path(story.claim) / "file").write_text("written")
    await story.back()
    await story.ends_as(baseline)


async def test_a_storage_node_forgets_and_nobody_remembers(
    lab: Lab, orchestrator: Orchestrator, baseline: State
) -> None:
    story = Story(lab, orchestrator, "forgotten", remembers=False)
    await story.forward(0, 2)
    await story.kill_when("storage", "CreateNvmePath", story.stage_or_start_over)
    await story.forward(3)
    (orchestrator.target_path(story.claim) / "file").write_text("written")
    await story.back()
    await story.ends_as(baseline)


@pytest.mark.parametrize("event", UNSTAGE_EVENTS)
@pytest.mark.parametrize("victim", PROCESSES)
async def test_killed_inside_unstage(
    lab: Lab, orchestrator: Orchestrator, baseline: State, victim: str, event: str
) -> None:
    story = Story(lab, orchestrator, f"unstage-{victim}-{event.replace('/', '-')}".lower())
    await story.forward()
    await orchestrator.node_unpublish(story.claim)
    await story.kill_when(victim, event, lambda: orchestrator.unstage(story.claim))
    await orchestrator.unpublish(story.claim)
    await orchestrator.delete(story.claim)
    await story.ends_as(baseline)


@pytest.mark.parametrize("seed", SEEDS)
async def test_killed_at_random_moments(lab: Lab, orchestrator: Orchestrator, baseline: State, seed: int) -> None:
    """Twelve volumes, each with one random process killed at a random moment of its staging and of its unstaging."""
    rng = random.Random(seed)
    for number in range(12):
        story = Story(lab, orchestrator, f"random-{seed}-{number}")
        await story.forward(0, 2)
        await struck_after(story, rng.choice(PROCESSES), rng.uniform(0, 0.3), story.stage)
        await story.forward(3)
        await orchestrator.node_unpublish(story.claim)
        unstage = partial(orchestrator.unstage, story.claim)
        await struck_after(story, rng.choice(PROCESSES), rng.uniform(0, 0.1), unstage)
        await orchestrator.unpublish(story.claim)
        await orchestrator.delete(story.claim)
        await story.ends_as(baseline)


async def struck_after(story: Story, victim: str, delay_s: float, step: Callable[[], Awaitable[object]]) -> None:
    running = asyncio.ensure_future(step())
    await asyncio.wait([running], timeout=delay_s)
    await story.kill(victim)
    await running
