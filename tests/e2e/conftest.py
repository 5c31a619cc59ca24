import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from dpucsi.testing.lab import Lab
from dpucsi.testing.orchestrator import Orchestrator
from dpucsi.testing.snapshot import loop_devices, mounts


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def lab() -> AsyncIterator[Lab]:
    """The whole suite on the emulated DPU, started once; it ends with nothing left."""
    if os.geteuid() != 0:
        pytest.skip("mounts and loop devices need root")
    root = Path(tempfile.mkdtemp(prefix="dpucsi-e2e-"))
    lab = Lab(root, extra={"dpu": ("--card-recovery", "3")})
    try:
        await lab.up()
        yield lab
    finally:
        lab.down()
    assert mounts(root) == []
    assert loop_devices(root) == []
    assert list(root.rglob("*.sock")) == []
    shutil.rmtree(root)


@pytest_asyncio.fixture(loop_scope="session")
async def orchestrator(lab: Lab) -> AsyncIterator[Orchestrator]:
    orchestrator = Orchestrator(lab)
    await orchestrator.learn_node()
    yield orchestrator
    await orchestrator.close()
