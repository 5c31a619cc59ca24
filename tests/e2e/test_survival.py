"""Processes die under a mounted file system, and it goes on: no write that was acknowledged is lost, no error is seen.

`DPUCSI_SURVIVAL_KILLS` is how many processes are killed (8 in CI), `DPUCSI_SURVIVAL_SEED` chooses which and when.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from dpucsi.testing.lab import Lab
from dpucsi.testing.ledger import Ledger
from dpucsi.testing.orchestrator import Claim, Orchestrator, mount_capability
from dpucsi.testing.snapshot import State, comes_to

KILLS = int(os.environ.get("DPUCSI_SURVIVAL_KILLS", "8"))
SEED = int(os.environ.get("DPUCSI_SURVIVAL_SEED", "1"))
VICTIMS = ("storage", "dpu", "opi-bridge", "volume-attacher")
MIB = 1 << 20

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300 + 30 * KILLS)]


async def test_no_acknowledged_write_is_lost(lab: Lab, orchestrator: Orchestrator, baseline: State) -> None:
    """One ext4 and one xfs. A storage node's exports come back as Kubernetes' VolumeAttachments would bring them."""
    rng = random.Random(SEED)
    claims = [
        Claim(f"survival-{fs_type}", size_bytes=320 * MIB, capability=mount_capability(fs_type))
        for fs_type in ("ext4", "xfs")
    ]
    ledgers = []
    for claim in claims:
        for _, act in orchestrator.forward(claim):
            await act()
        ledgers.append(Ledger(orchestrator.target_path(claim) / "ledger"))
        await ledgers[-1].start()
    mounted = mount_ids(lab)
    for number in range(KILLS):
        victim = VICTIMS[number % len(VICTIMS)] if number < len(VICTIMS) else rng.choice(VICTIMS)
        lab.processes[victim].kill()
        await asyncio.sleep(rng.uniform(0, 0.5))  # how long it is away is part of the case
        await lab.start(victim)
        for ledger in ledgers:
            await ledger.progress(rng.randrange(1, 20), timeout_s=60)
    assert mount_ids(lab) == mounted, "something was mounted anew"
    for ledger in ledgers:
        await ledger.stop()
        assert ledger.errno is None
        assert ledger.lost() == []
    print(f"{KILLS} kills with seed {SEED}: {[ledger.acknowledged for ledger in ledgers]} writes acknowledged, 0 lost")
    for claim in claims:
        for _, act in orchestrator.back(claim):
            await act()
    await comes_to(lab, baseline, timeout_s=20)


def mount_ids(lab: Lab) -> set[str]:
    """The kernel's numbers of the mounts below the lab: a mount that was made again has another one."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[0] for line in lines if line.split()[4].startswith(str(lab.root / "kubelet"))}
