from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.volume_attacher.lab import Bench

from dpucsi.testing.fake_opi import FakeOpi


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeOpi]:
    fake = FakeOpi(tmp_path / "opi.sock")
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def bench(fake: FakeOpi, tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench.open(fake, tmp_path) as bench:
        yield bench
