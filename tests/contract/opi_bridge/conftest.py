"""opi-bridge on a DPU's SPDK, a storage node beside it: emulated always, real where SPDK_TGT names a spdk_tgt."""

import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.opi_bridge.bench import Bench
from tests.contract.spdk.spdk_process import KINDS, SpdkProcess

from dpucsi.dpus import DpuDriver
from dpucsi.dpus.emulated import EmulatedDriver
from dpucsi.dpus.nvmf_tcp import NvmfTcpDriver
from dpucsi.dpus.vfio_user import VfioUserDriver
from dpucsi.model import HostFunction
from dpucsi.testing.ports import free_ports
from dpucsi.testing.process import LabProcess
from dpucsi.testing.spdk_command import real_spdk

FUNCTIONS = (HostFunction(0, 0), HostFunction(0, 0, 1))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="opi-") as path:
        yield Path(path)


@pytest.fixture(params=["emulated", "vfio-user", "nvmf-tcp"])
def driver_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driver(driver_name: str, folder: Path) -> DpuDriver:
    if driver_name == "emulated":
        return EmulatedDriver(folder / "card" / "functions", FUNCTIONS)
    if driver_name == "vfio-user":
        return VfioUserDriver(folder / "vfu", FUNCTIONS)
    return NvmfTcpDriver("127.0.0.1", free_ports(len(FUNCTIONS))[0], FUNCTIONS)


@pytest.fixture
def card(kind: str, driver_name: str, folder: Path) -> Iterator[None]:
    """The emulated card, where the DPU has one: with a real spdk_tgt the driver's functions are folders and no more."""
    if kind == "real" or driver_name != "emulated":
        yield
        return
    process = LabProcess(
        "card", [sys.executable, "-m", "emulated_card", "--folder", str(folder / "card")], folder / "card.log"
    )
    process.start()
    yield
    process.stop()


@pytest.fixture
def dpu_process(kind: str, folder: Path, card: None) -> Iterator[SpdkProcess]:
    (folder / "dpu").mkdir()
    process = SpdkProcess(kind, folder / "dpu")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def storage_process(kind: str, folder: Path) -> Iterator[SpdkProcess]:
    (folder / "storage").mkdir()
    process = SpdkProcess(kind, folder / "storage", core=1)
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def bench(
    folder: Path, driver: DpuDriver, dpu_process: SpdkProcess, storage_process: SpdkProcess
) -> AsyncIterator[Bench]:
    async with contextlib.AsyncExitStack() as stack:
        bench = Bench(folder, driver, dpu_process, storage_process, stack)
        await bench.start()
        yield bench
