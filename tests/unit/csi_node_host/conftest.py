import pytest
from tests.unit.csi_node_host.rig import am_root, make_rig


@pytest.fixture
async def rig(tmp_path):
    if not am_root():
        pytest.skip("needs root: loop devices, mkfs and mount are real here")
    async with make_rig(tmp_path) as made:
        yield made
