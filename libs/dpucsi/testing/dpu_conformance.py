"""What every DPU driver has to pass. Inherit the class in a test module and give it the three fixtures:

    class TestMyDriver(DpuConformance):
        @pytest.fixture
        def driver(self): ...        # configured; the card has a free function
        @pytest.fixture
        def function(self): ...      # a HostFunction that is free
        @pytest.fixture
        async def spdk(self): ...    # an SpdkClient of the SPDK that drives the card

It needs pytest and pytest-asyncio in its auto mode. The subsystems that a test makes are deleted again.
"""
# ruff: noqa: D102 - a test's name says what it proves

import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from dpucsi import naming
from dpucsi.dpus import DpuDriver, Placement
from dpucsi.errors import DpucsiError, InvalidArgumentError
from dpucsi.model import HostFunction
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.nvmf import (
    Subsystem,
    find_subsystem,
    nvmf_create_subsystem,
    nvmf_create_transport,
    nvmf_delete_subsystem,
    nvmf_get_transports,
)


class DpuConformance:
    """Every test has a subsystem of its own, and the transports that the driver asked for."""

    @pytest.fixture
    async def placement(self, driver: DpuDriver, spdk: SpdkClient, function: HostFunction) -> AsyncIterator[Placement]:
        """A place on a subsystem that nobody else has."""
        present = {trtype.upper() for trtype in await nvmf_get_transports(spdk)}
        for trtype in driver.transports():
            if trtype.upper() not in present:
                await nvmf_create_transport(spdk, trtype=trtype)
        nqn = f"{naming.NQN_ROOT}:host:{uuid4()}"
        await nvmf_create_subsystem(spdk, nqn=nqn, serial_number="CONFORMANCE", allow_any_host=True)
        place = Placement(nqn, function=function)
        yield place
        subsystem = await find_subsystem(spdk, nqn)
        if subsystem is not None and await driver.is_there(spdk, subsystem, place):
            await driver.take_away(spdk, place)
        await nvmf_delete_subsystem(spdk, nqn=nqn)

    async def test_controller_is_put_and_taken_away(
        self, driver: DpuDriver, spdk: SpdkClient, placement: Placement
    ) -> None:
        assert not await driver.is_there(spdk, await _read(spdk, placement), placement)
        await driver.put(spdk, placement)
        assert await driver.is_there(spdk, await _read(spdk, placement), placement)
        await driver.take_away(spdk, placement)
        assert not await driver.is_there(spdk, await _read(spdk, placement), placement)

    async def test_place_is_free_again(self, driver: DpuDriver, spdk: SpdkClient, placement: Placement) -> None:
        for _ in range(3):
            await driver.put(spdk, placement)
            await driver.take_away(spdk, placement)

    async def test_second_put_changes_nothing(self, driver: DpuDriver, spdk: SpdkClient, placement: Placement) -> None:
        """Two calls that raced: the second may be refused, and the controller is where it was."""
        await driver.put(spdk, placement)
        with contextlib.suppress(DpucsiError):
            await driver.put(spdk, placement)
        assert await driver.is_there(spdk, await _read(spdk, placement), placement)

    async def test_second_take_away_changes_nothing(
        self, driver: DpuDriver, spdk: SpdkClient, placement: Placement
    ) -> None:
        await driver.put(spdk, placement)
        await driver.take_away(spdk, placement)
        with contextlib.suppress(DpucsiError):
            await driver.take_away(spdk, placement)
        assert not await driver.is_there(spdk, await _read(spdk, placement), placement)

    async def test_functions_are_places(self, driver: DpuDriver, function: HostFunction) -> None:
        nqn = f"{naming.NQN_ROOT}:host:{uuid4()}"
        functions = driver.functions()
        assert len(set(functions)) == len(functions)
        for each in functions or (function,):
            driver.check(Placement(nqn, function=each))

    async def test_place_that_is_none(self, driver: DpuDriver) -> None:
        with pytest.raises(InvalidArgumentError):
            driver.check(Placement(f"{naming.NQN_ROOT}:host:{uuid4()}"))

    async def test_unknown_option(self, driver: DpuDriver) -> None:
        with pytest.raises(InvalidArgumentError, match="no-such-option"):
            type(driver).from_options({"no-such-option": "1"})


async def _read(spdk: SpdkClient, placement: Placement) -> Subsystem:
    subsystem = await find_subsystem(spdk, placement.subnqn)
    assert subsystem is not None
    return subsystem
