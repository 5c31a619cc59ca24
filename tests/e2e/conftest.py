import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from dpucsi.aio import wait_until
from dpucsi.testing.lab import Lab
from dpucsi.testing.leftovers import loop_devices, mounts
from dpucsi.testing.orchestrator import Orchestrator
from dpucsi.testing.snapshot import State, snapshot

# A test does not wait half a minute until I/O without a path fails.
FAST = ("--fast-io-fail-timeout", "10", "--reconnect-delay", "1")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def lab() -> AsyncIterator[Lab]:
    """The whole suite on the emulated DPU, started once; it ends with nothing left."""
    if os.geteuid() != 0:
        pytest.skip("mounts and loop devices need root")
    root = Path(tempfile.mkdtemp(prefix="dpucsi-e2e-"))
    lab = Lab(root, extra={"card": ("--recovery", "3"), "opi-bridge": FAST})
    try:
        await lab.up()
        yield lab
    finally:
        lab.down()
    assert mounts(root) == []
    assert loop_devices(root) == []
    assert list(root.rglob("*.sock")) == []
    shutil.rmtree(root)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def baseline(lab: Lab) -> State:
    """The state before any volume, once the attacher has made its shared functions."""

    async def settled() -> State | None:
        state = await snapshot(lab)
        return state if any(name.startswith("nvmeSubsystems/") for name in state["opi"]) else None

    return await wait_until(settled, "the shared function", timeout_s=10)


@pytest_asyncio.fixture(loop_scope="session")
async def orchestrator(lab: Lab) -> AsyncIterator[Orchestrator]:
    orchestrator = Orchestrator(lab)
    await orchestrator.learn_node()
    yield orchestrator
    await orchestrator.close()
