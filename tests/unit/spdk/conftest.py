from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.spdk.scripted_spdk import ScriptedSpdk

from dpucsi.spdk import SpdkClient


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[ScriptedSpdk]:
    async with ScriptedSpdk(tmp_path / "spdk.sock") as far:
        yield far


@pytest.fixture
async def client(far: ScriptedSpdk) -> AsyncIterator[SpdkClient]:
    async with SpdkClient(far.endpoint, name="storage", timeout_s=10) as client:
        yield client
        await client.close(grace_s=0)
