"""Commands through the gate of one namespace."""

import asyncio
import errno
from typing import cast

import pytest

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.host_queue import ConnectionLostError
from dpucsi.nvme_tcp.status import NvmeError
from emulated_card.controller import Controller
from emulated_card.gate import Gate
from emulated_card.state import RETRIES, Gone, Live, Waiting

ONE, OTHER = (cast(Controller, object()) for _ in range(2))


async def told(controller: Controller) -> Controller:
    return controller


async def test_a_command_waits_until_there_is_somebody() -> None:
    gate = Gate(Waiting())
    answer = asyncio.ensure_future(gate.run(told))
    await asyncio.sleep(0)
    assert not answer.done()
    gate.set(Live(ONE))
    assert await answer is ONE


async def test_a_lost_command_is_sent_to_the_next_controller() -> None:
    gate = Gate(Live(ONE))

    async def lose(controller: Controller) -> Controller:
        if controller is ONE:
            raise ConnectionLostError("gone")
        return controller

    answer = asyncio.ensure_future(gate.run(lose))
    await asyncio.sleep(0)
    gate.set(Waiting())
    await asyncio.sleep(0)
    assert not answer.done()
    gate.set(Live(OTHER))
    assert await answer is OTHER


async def test_gone_ends_what_waits_and_is_final() -> None:
    gate = Gate(Waiting())
    answer = asyncio.ensure_future(gate.run(told))
    await asyncio.sleep(0)
    gate.set(Gone())
    gate.set(Live(ONE))
    for one in (answer, gate.run(told)):
        with pytest.raises(OSError) as failed:
            await one
        assert failed.value.errno == errno.EIO


@pytest.mark.parametrize(("dnr", "tries"), [(False, RETRIES + 1), (True, 1)])
async def test_a_refused_command_is_tried_as_often_as_the_kernel_does(dnr: bool, tries: int) -> None:
    asked = []

    async def refuse(controller: Controller) -> None:
        asked.append(controller)
        raise NvmeError(status.CAPACITY_EXCEEDED, dnr=dnr)

    with pytest.raises(OSError) as failed:
        await Gate(Live(ONE)).run(refuse)
    assert failed.value.errno == errno.ENOSPC
    assert len(asked) == tries
