"""The conformance suite of DPU drivers on the three in tree, and what a crash leaves behind."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi.dpus import DpuDriver, Placement
from dpucsi.dpus.vfio_user import VfioUserDriver
from dpucsi.errors import FailedPreconditionError
from dpucsi.model import HostFunction
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.nvmf import nvmf_create_subsystem, nvmf_create_transport
from dpucsi.testing.dpu_conformance import DpuConformance


@pytest.fixture
async def spdk(dpu_process: SpdkProcess) -> AsyncIterator[SpdkClient]:
    async with SpdkClient(dpu_process.endpoint) as client:
        yield client


@pytest.fixture
def function() -> HostFunction:
    return HostFunction(0, 0, 1)


class TestDriversInTree(DpuConformance):
    pass


@pytest.mark.parametrize("driver_name", ["emulated", "vfio-user"], indirect=True)
async def test_killed_spdk_leaves_a_socket(
    driver: VfioUserDriver, spdk: SpdkClient, dpu_process: SpdkProcess, function: HostFunction
) -> None:
    """spdk issue 2622: the next process finds the address in use. The driver clears it; the folder goes at the end."""
    placement = Placement("nqn.2024-01.io.dpucsi:host:a", function=function)

    async def put() -> None:
        await nvmf_create_transport(spdk, trtype="VFIOUSER")
        await nvmf_create_subsystem(spdk, nqn=placement.subnqn, serial_number="S", allow_any_host=True)
        await driver.put(spdk, placement)

    await put()
    folder = Path(driver.listen_address(placement).traddr)
    instance = spdk.instance
    dpu_process.kill()
    assert folder.exists()
    dpu_process.start()
    await spdk.new_instance(other_than=instance)
    await put()
    await driver.take_away(spdk, placement)
    assert not folder.exists()


@pytest.mark.parametrize("driver_name", ["vfio-user"], indirect=True)
@pytest.mark.parametrize("kind", ["emulator"], indirect=True)
async def test_socket_of_a_living_process_is_left_alone(
    driver: DpuDriver, spdk: SpdkClient, function: HostFunction
) -> None:
    assert isinstance(driver, VfioUserDriver)
    placement = Placement("nqn.2024-01.io.dpucsi:host:a", function=function)
    folder = Path(driver.listen_address(placement).traddr)
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(f"{folder}/cntrl")
        living.listen()
        with pytest.raises(FailedPreconditionError, match="cntrl"):
            await driver.put(spdk, placement)
        assert (folder / "cntrl").exists()
