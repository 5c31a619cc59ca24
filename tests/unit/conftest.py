from collections.abc import AsyncIterator

import pytest

from dpucsi.testing.fake_kube import FakeKube


@pytest.fixture
async def kube() -> AsyncIterator[FakeKube]:
    """An API server on a socket, without an object."""
    fake = FakeKube()
    await fake.start()
    yield fake
    await fake.stop()
