from collections.abc import AsyncIterator

import pytest

from dpucsi.k8s import KubeApi
from dpucsi.testing.fake_kube import FakeKube


@pytest.fixture
async def api(kube: FakeKube) -> AsyncIterator[KubeApi]:
    api = kube.connect()
    yield api
    await api.close()
