"""bdev_nvme against scripted controllers: when I/O waits, when it is tried again, when it fails, what comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.nvme_tcp.scripted_controller import BLOCK
from tests.unit.spdk_emulator.initiator_rig import DATA, FOR_EVER, PATIENCE_S, Rig, initiator_rig

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.command import IoOpcode
from dpucsi.nvme_tcp.status import NvmeError
from spdk_emulator.initiator.initiator import Initiator
from spdk_emulator.initiator.options import LossOptions, NvmeOptions


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with initiator_rig() as rig:
        yield rig


async def test_a_bdev_reads_and_writes_its_namespace(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    assert (bdev.uuid, bdev.block_size, bdev.num_blocks) == (str(rig.memory.uuid), BLOCK, 4096)
    await bdev.io.write(BLOCK, DATA * 1000)
    assert rig.memory.data[BLOCK : 1001 * BLOCK] == DATA * 1000
    await bdev.io.write_zeroes(BLOCK, BLOCK)
    await bdev.io.unmap(2 * BLOCK, BLOCK)
    await bdev.io.flush()
    assert await bdev.io.read(BLOCK, 3 * BLOCK) == bytes(BLOCK) + b"\xdd" * BLOCK + DATA
    assert IoOpcode.FLUSH in {command.opcode for command in target.commands}


async def test_digests_are_asked_for(rig: Rig) -> None:
    target, _ = await rig.target()
    bdev = await rig.attach(rig.spec(target._port, hdgst=True, ddgst=True))
    await bdev.io.write(0, DATA * 64)
    assert all(queue.framing.header_digest and queue.framing.data_digest for queue in target.queues)


async def test_what_was_in_flight_is_sent_again_when_the_path_is_back(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    target.held = {IoOpcode.WRITE, IoOpcode.READ}
    write, read = asyncio.ensure_future(bdev.io.write(0, DATA)), asyncio.ensure_future(bdev.io.read(BLOCK, BLOCK))
    await rig.until(lambda: len(target.commands) == 2, "both commands")
    await target.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the loss")
    late = asyncio.ensure_future(bdev.io.write(2 * BLOCK, DATA))
    assert rig.bdev() is bdev
    target.held.clear()
    await target.listen(port=target._port)
    await asyncio.wait_for(asyncio.gather(write, read, late), PATIENCE_S)
    assert rig.memory.data[: 3 * BLOCK] == DATA + bytes(BLOCK) + DATA
    assert rig.states() == ["enabled"] and rig.events() == ["bdev_register"]


async def test_a_cancelled_caller_is_not_served_behind_its_back(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    await target.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the loss")
    write = asyncio.ensure_future(bdev.io.write(0, DATA))
    await asyncio.sleep(0)
    write.cancel()
    await target.listen(port=target._port)
    await bdev.io.write(BLOCK, DATA)
    assert rig.memory.data[:BLOCK] == bytes(BLOCK)


async def test_a_target_without_io_queues_is_tried_with_its_delay(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec, loss=LossOptions(ctrlr_loss_timeout=-1, reconnect_delay=0.2))
    target.is_without_io = True
    write = asyncio.ensure_future(bdev.io.write(0, DATA))
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the loss")
    assert target.opened == 4  # the attach, the late queue, and the try again with both
    target.is_without_io = False
    await asyncio.wait_for(write, PATIENCE_S)


async def test_without_a_reconnect_delay_nothing_waits_but_the_path_comes_back(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec, loss=LossOptions())
    target.held = {IoOpcode.READ}
    read = asyncio.ensure_future(bdev.io.read(0, BLOCK))
    await rig.until(lambda: bool(target.commands), "the read")
    await target.stop()
    with pytest.raises(NvmeError) as failed:
        await read
    assert failed.value.status == status.ABORTED_SQ_DELETION
    await rig.until(lambda: rig.states() == ["failed"], "the failure")
    with pytest.raises(NvmeError) as failed:
        await bdev.io.read(0, BLOCK)
    assert failed.value.status == status.INTERNAL_ERROR
    target.held.clear()
    await target.listen(port=target._port)
    await rig.until(lambda: rig.states() == ["enabled"], "the path")
    await bdev.io.read(0, BLOCK)


async def test_io_fails_after_its_time_and_goes_on_when_the_path_is_back(rig: Rig) -> None:
    target, spec = await rig.target()
    loss = LossOptions(ctrlr_loss_timeout=-1, reconnect_delay=0.1, fast_io_fail_timeout=0.4)
    bdev = await rig.attach(spec, loss=loss)
    loop = asyncio.get_running_loop()
    lost_at = loop.time()
    await target.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the loss")
    with pytest.raises(NvmeError) as failed:
        await bdev.io.write(0, DATA)
    assert failed.value.status == status.INTERNAL_ERROR
    assert 0.4 <= loop.time() - lost_at < 2
    with pytest.raises(NvmeError):
        await bdev.io.write(0, DATA)
    await target.listen(port=target._port)
    await rig.until(lambda: rig.states() == ["enabled"], "the path")
    await target.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the next loss")
    write = asyncio.ensure_future(bdev.io.write(0, DATA))  # its time begins anew
    await target.listen(port=target._port)
    await asyncio.wait_for(write, PATIENCE_S)


async def test_a_path_is_given_up_after_its_time_with_what_waits_for_it(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec, loss=LossOptions(ctrlr_loss_timeout=0.3, reconnect_delay=0.1))
    await target.stop()
    started = asyncio.get_running_loop().time()
    with pytest.raises(NvmeError) as failed:
        await bdev.io.write(0, DATA)
    assert asyncio.get_running_loop().time() - started >= 0.3
    assert failed.value.status == status.ABORT_REQUESTED
    assert rig.initiator.controllers == {} and rig.events() == ["bdev_register", "bdev_unregister"]


@pytest.mark.parametrize(
    ("retry_count", "error", "tries"),
    [
        (3, NvmeError(status.NAMESPACE_NOT_READY), 4),
        (0, NvmeError(status.NAMESPACE_NOT_READY), 1),
        (3, NvmeError(status.NAMESPACE_NOT_READY, dnr=True), 1),
        (-1, NvmeError(status.ABORT_REQUESTED), 1),
    ],
)
async def test_how_often_a_failed_command_is_tried(rig: Rig, retry_count: int, error: NvmeError, tries: int) -> None:
    target, spec = await rig.target()
    rig.initiator.options = NvmeOptions(bdev_retry_count=retry_count)
    bdev = await rig.attach(spec)
    target.failing[IoOpcode.READ] = error
    with pytest.raises(NvmeError) as failed:
        await bdev.io.read(0, BLOCK)
    assert failed.value.status == error.status
    assert len(target.commands) == tries


async def test_with_no_retries_nothing_waits_for_a_path(rig: Rig) -> None:
    target, spec = await rig.target()
    rig.initiator.options = NvmeOptions(bdev_retry_count=0)
    bdev = await rig.attach(spec)
    await target.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the loss")
    with pytest.raises(NvmeError) as failed:
        await bdev.io.read(0, BLOCK)
    assert failed.value.status == status.INTERNAL_ERROR


async def test_keep_alives_as_often_as_the_options_say(rig: Rig) -> None:
    target, spec = await rig.target()
    rig.initiator.options = NvmeOptions(keep_alive_timeout_ms=100)
    await rig.attach(spec)
    await rig.until(lambda: target.keep_alives >= 3, "keep alives")
    target.is_deaf = True
    opened = target.opened
    await rig.until(lambda: target.opened > opened, "another try")


async def test_a_detach_takes_leave_and_ends_what_waits(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    await rig.initiator.end_detach(rig.initiator.begin_detach("r", {}))
    assert target.shutdowns == 1 and target.queues == []
    assert rig.initiator.controllers == {} and rig.bdevs.find("rn1") is None
    with pytest.raises(NvmeError):
        await bdev.io.read(0, BLOCK)


async def test_a_detach_ends_what_waits_for_a_dead_target(rig: Rig) -> None:
    target, spec = await rig.target()
    bdev = await rig.attach(spec)
    await target.stop()
    await rig.until(lambda: rig.states() == ["reconnect_is_delayed"], "the loss")
    write = asyncio.ensure_future(bdev.io.write(0, DATA))
    await asyncio.sleep(0)
    await rig.initiator.end_detach(rig.initiator.begin_detach("r", {}))
    with pytest.raises(NvmeError) as failed:
        await write
    assert failed.value.status == status.ABORT_REQUESTED


async def test_a_target_that_says_nothing_blocks_nobody_else(rig: Rig) -> None:
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    stuck = asyncio.ensure_future(
        rig.initiator.attach("stuck", rig.spec(port), FOR_EVER, is_multipath=True, bdevs_max=128)
    )
    _, spec = await rig.target()
    bdev = await asyncio.wait_for(rig.attach(spec), PATIENCE_S)
    await asyncio.wait_for(bdev.io.write(0, DATA), PATIENCE_S)
    assert not stuck.done()
    stuck.cancel()
    await asyncio.wait((stuck,))
    silent.close()


async def test_an_attach_takes_its_time_at_least(rig: Rig) -> None:
    _, spec = await rig.target()
    slow = Initiator(rig.bdevs, attach_s=0.1)
    started = asyncio.get_running_loop().time()
    await slow.attach("slow", spec, FOR_EVER, is_multipath=True, bdevs_max=128)
    assert asyncio.get_running_loop().time() - started >= 0.1
    slow.close()


@pytest.mark.parametrize(
    ("loss", "is_valid"),
    [
        ((0, 0, 0), True),
        ((-1, 1, 0), True),
        ((-1, 0, 0), False),
        ((0, 1, 0), False),
        ((5, 10, 0), False),
        ((5, 1, 10), False),
        ((30, 5, 2), False),
        ((0, 0, 5), False),
        ((-2, 1, 0), False),
        ((-1, 2, 10), True),
        ((30, 2, 10), True),
    ],
)
def test_loss_options_as_recorded(loss: tuple[int, int, int], is_valid: bool) -> None:
    assert LossOptions(*loss).is_valid == is_valid
