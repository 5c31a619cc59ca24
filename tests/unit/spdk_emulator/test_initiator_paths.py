"""bdev_nvme with several paths, and with namespaces that change: which way I/O takes, and what it reaches."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.nvme_tcp.scripted_controller import BLOCK, Memory
from tests.unit.spdk_emulator.initiator_rig import DATA, FOR_EVER, PATIENCE_S, Rig, initiator_rig

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.command import IoOpcode
from dpucsi.nvme_tcp.logs import AnaState
from dpucsi.nvme_tcp.status import NvmeError
from spdk_emulator.rpc.errors import RpcError


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with initiator_rig() as rig:
        yield rig


async def test_the_second_path_takes_over_and_the_first_one_takes_back(rig: Rig) -> None:
    (one, to_one), (two, to_two) = await rig.target(), await rig.target()
    bdev = await rig.attach(to_one, to_two)
    assert rig.events() == ["bdev_register"]
    await bdev.io.write(0, DATA)
    assert (len(one.commands), len(two.commands)) == (1, 0)
    one.held = {IoOpcode.WRITE}
    write = asyncio.ensure_future(bdev.io.write(BLOCK, DATA))
    await rig.until(lambda: len(one.commands) == 2, "the write on the first path")
    await one.stop()
    await asyncio.wait_for(write, PATIENCE_S)
    assert rig.memory.data[BLOCK : 2 * BLOCK] == DATA and len(two.commands) == 1
    one.held.clear()
    await one.listen(port=one._port)
    await rig.until(lambda: rig.states() == ["enabled", "enabled"], "the first path")
    await bdev.io.write(0, DATA)
    assert (len(one.commands), len(two.commands)) == (3, 1)


async def test_an_optimized_path_is_preferred_and_events_are_followed(rig: Rig) -> None:
    (one, to_one), (two, to_two) = await rig.target(), await rig.target()
    for target in (one, two):  # the same bytes, reached in different ways
        target.namespaces = {1: Memory(uuid=rig.memory.uuid)}
    one.namespaces[1].state = AnaState.NON_OPTIMIZED
    bdev = await rig.attach(to_one, to_two)
    await bdev.io.read(0, BLOCK)
    assert (len(one.commands), len(two.commands)) == (0, 1)
    two.namespaces[1].state = AnaState.INACCESSIBLE
    two.tell_ana()
    await rig.until(lambda: not rig.controller.paths[1].takes(1), "the new state")
    await bdev.io.read(0, BLOCK)
    assert (len(one.commands), len(two.commands)) == (1, 1)


async def test_a_refusal_for_the_path_sends_the_command_elsewhere(rig: Rig) -> None:
    (one, to_one), (two, to_two) = await rig.target(), await rig.target()
    bdev = await rig.attach(to_one, to_two)
    for refusal in (status.ANA_TRANSITION, status.INTERNAL_PATH_ERROR):
        one.failing[IoOpcode.READ] = NvmeError(refusal)
        await asyncio.wait_for(bdev.io.read(0, BLOCK), PATIENCE_S)
        await rig.until(lambda: rig.controller.paths[0].takes(1), "the ANA states")
    assert (len(one.commands), len(two.commands)) == (2, 2)


async def test_a_refusal_for_an_ana_state_is_believed_without_an_event(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    rig.memory.state = AnaState.PERSISTENT_LOSS
    target.failing[IoOpcode.READ] = NvmeError(status.ANA_PERSISTENT_LOSS)
    read = asyncio.ensure_future(bdev.io.read(0, BLOCK))
    await rig.until(lambda: rig.controller.paths[0].live().ana_state(1) == AnaState.PERSISTENT_LOSS, "the state")
    assert len(target.commands) == 1
    rig.memory.state = AnaState.OPTIMIZED
    target.failing.clear()
    target.tell_ana()
    await asyncio.wait_for(read, PATIENCE_S)


async def test_io_waits_for_a_state_that_passes_but_not_longer_than_it_should(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    rig.memory.state = AnaState.CHANGE
    target.tell_ana()
    await rig.until(lambda: not rig.controller.paths[0].takes(1), "the new state")
    write = asyncio.ensure_future(bdev.io.write(0, DATA))
    await asyncio.sleep(0)
    rig.memory.state = AnaState.OPTIMIZED
    target.tell_ana()
    await asyncio.wait_for(write, PATIENCE_S)
    rig.memory.state = AnaState.INACCESSIBLE
    target.tell_ana()
    await rig.until(lambda: not rig.controller.paths[0].takes(1), "the new state")
    started = asyncio.get_running_loop().time()
    with pytest.raises(NvmeError) as failed:
        await asyncio.wait_for(bdev.io.write(0, DATA), PATIENCE_S)
    assert failed.value.status == status.INTERNAL_ERROR
    assert asyncio.get_running_loop().time() - started > 0.5  # ANATT is 1 s


async def test_a_namespace_that_is_missing_after_a_reconnect_is_waited_for(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    await target.stop()
    target.namespaces = {}
    await target.listen(port=target._port)
    await rig.until(lambda: rig.states() == ["enabled"], "the path")
    write = asyncio.ensure_future(bdev.io.write(0, DATA))
    target.namespaces = {1: rig.memory}
    target.tell_changed(1)
    await asyncio.wait_for(write, PATIENCE_S)
    assert rig.bdev() is bdev and rig.events() == ["bdev_register"]


async def test_a_namespace_that_goes_takes_its_bdev_and_another_one_is_another_bdev(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    other = Memory(num_blocks=16)
    target.namespaces = {1: other}
    target.tell_changed(1)
    await rig.until(lambda: rig.bdev() is not bdev, "another bdev")
    assert rig.bdev().uuid == str(other.uuid)
    with pytest.raises(NvmeError):
        await bdev.io.write(0, DATA)
    await rig.bdev().io.write(0, DATA)
    assert other.data[:BLOCK] == DATA and rig.memory.data[:BLOCK] == bytes(BLOCK)
    target.namespaces = {}
    target.tell_changed(1)
    await rig.until(lambda: rig.bdevs.find("rn1") is None, "no bdev")


async def test_a_grown_namespace_is_a_grown_bdev(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    rig.memory.grow(8192)
    target.tell_changed(1)
    await rig.until(lambda: bdev.num_blocks == 8192, "the new size")
    await bdev.io.write(8191 * BLOCK, DATA)
    assert rig.events() == ["bdev_register", "bdev_resize"]


async def test_a_path_to_something_else_is_not_used(rig: Rig) -> None:
    (one, to_one), (two, to_two) = await rig.target(), await rig.target()
    two.namespaces = {1: Memory()}
    bdev = await rig.attach(to_one, to_two)
    await one.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed", "enabled"], "the loss")
    write = asyncio.ensure_future(bdev.io.write(0, DATA))
    await one.listen(port=one._port)
    await asyncio.wait_for(write, PATIENCE_S)
    assert two.commands == []


async def test_a_controller_id_that_is_known_is_no_second_path(rig: Rig) -> None:
    (_, to_one), (two, to_two) = await rig.target(), await rig.target()
    two.cntlids = iter((1,))
    await rig.attach(to_one)
    with pytest.raises(RpcError) as refused:
        await rig.attach(to_two)
    assert refused.value.code == -22
    await rig.until(lambda: not two.queues, "the end of the second connection")


async def test_an_alternate_is_tried_kept_and_turned_to(rig: Rig) -> None:
    (one, to_one), (two, to_two) = await rig.target(), await rig.target()
    bdev = await rig.attach(to_one, is_multipath=False)
    assert await rig.initiator.add_alternate("r", to_two, FOR_EVER) == []
    await rig.until(lambda: not two.queues, "the end of the trial")
    await one.stop()
    await asyncio.wait_for(bdev.io.write(0, DATA), PATIENCE_S)
    (path,) = rig.controller.paths
    assert path.spec == to_two and path.alternates == [to_one]
    await two.stop()
    await one.listen(port=one._port)
    await asyncio.wait_for(bdev.io.write(BLOCK, DATA), PATIENCE_S)
    assert path.spec == to_one and rig.memory.data[: 2 * BLOCK] == DATA * 2


async def test_an_alternate_to_something_else_is_refused(rig: Rig) -> None:
    (_, to_one), (two, to_two) = await rig.target(), await rig.target()
    two.namespaces = {1: Memory()}
    await rig.attach(to_one, is_multipath=False)
    with pytest.raises(RpcError) as refused:
        await rig.initiator.add_alternate("r", to_two, FOR_EVER)
    assert refused.value.code == -22


async def test_detaching_the_active_path_turns_to_the_alternate(rig: Rig) -> None:
    (one, to_one), (_, to_two) = await rig.target(), await rig.target()
    bdev = await rig.attach(to_one, is_multipath=False)
    await rig.initiator.add_alternate("r", to_two, FOR_EVER)
    await rig.initiator.end_detach(rig.initiator.begin_detach("r", {"trsvcid": to_one.address.trsvcid}))
    await asyncio.wait_for(bdev.io.write(0, DATA), PATIENCE_S)
    (path,) = rig.controller.paths
    assert path.spec == to_two and path.alternates == []
    await rig.until(lambda: not one.queues, "the end of the first connection")
