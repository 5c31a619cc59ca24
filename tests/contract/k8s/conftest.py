import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.contract.k8s.control_plane import BIN, ControlPlane, missing

from dpucsi.k8s import KubeApi


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def control_plane() -> AsyncIterator[ControlPlane]:
    if missing():
        pytest.skip(f"{', '.join(missing())} not in {BIN}: run 'make kube-tools'")
    with tempfile.TemporaryDirectory(prefix="dpucsi-k8s-") as folder:
        plane = ControlPlane(Path(folder))
        try:
            await plane.up()
            yield plane
        finally:
            plane.down()


@pytest_asyncio.fixture(loop_scope="session")
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    api = await control_plane.connect()
    yield api
    await api.close()
