"""Initiator and target in every mixture: ours and ours, SPDK's and ours, ours and SPDK's, and SPDK's own pair, which
proves the tests themselves. The real ones need SPDK_TGT."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.contract.nvme_tcp.dpu import Dpu
from tests.contract.nvme_tcp.storage_node import StorageNode

from dpucsi.testing.spdk_command import real_spdk

PAIRS = (("emulator", "emulator"), ("real", "emulator"), ("emulator", "real"), ("real", "real"))


@dataclass
class Pair:
    """Who is the initiator (`dpu`) and who the target (`storage`)."""

    dpu: Dpu
    storage: StorageNode


@pytest_asyncio.fixture(
    loop_scope="session", scope="session", params=PAIRS, ids=[f"{dpu} to {storage}" for dpu, storage in PAIRS]
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Two processes that all tests share."""
    if "real" in request.param and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    dpu_kind, storage_kind = request.param
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        for name in ("dpu", "storage"):
            (Path(folder) / name).mkdir()
        pair = Pair(Dpu(dpu_kind, Path(folder) / "dpu"), StorageNode(storage_kind, Path(folder) / "storage"))
        try:
            await pair.storage.start()
            await pair.dpu.start()
            yield pair
        finally:
            await pair.dpu.close()
            await pair.storage.close()


@pytest.fixture
def dpu(pair: Pair) -> Dpu:
    return pair.dpu


@pytest.fixture
def storage(pair: Pair) -> StorageNode:
    return pair.storage
