"""The host's end of a whole controller: setting up, namespaces that change, I/O of any size, the end."""

import asyncio
import random
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.nvme_tcp.scripted_controller import BLOCK, Memory, Scripted

from dpucsi.aio import wait_until
from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.command import IoOpcode
from dpucsi.nvme_tcp.host import AnaState, ConnectionLostError, HostController
from dpucsi.nvme_tcp.identify import NvmController
from dpucsi.nvme_tcp.status import NvmeError

PATIENCE_S = 5
MANY = 1 << 32  # more blocks than one range of an unmap has


class Host:
    """A scripted controller, and what a host of it was told."""

    def __init__(self) -> None:
        self.scripted = Scripted()
        self.changes = 0
        self.losses = 0
        self.controllers: list[HostController] = []

    async def connect(self, **options: Any) -> HostController:
        controller = await HostController.connect(
            self.scripted.dial,
            subnqn="nqn.2024-01.io.example:s",
            hostnqn="nqn.2024-01.io.example:h",
            hostid=uuid4(),
            on_namespaces=self._changed,
            on_lost=self._lost,
            **options,
        )
        self.controllers.append(controller)
        return controller

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        async def look() -> bool | None:
            return True if is_so() else None

        await wait_until(look, what, timeout_s=PATIENCE_S)

    async def nobody_connected(self) -> None:
        await self.until(lambda: not self.scripted.queues, "every connection's end")

    def _changed(self) -> None:
        self.changes += 1

    def _lost(self) -> None:
        self.losses += 1


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    await host.scripted.listen()
    yield host
    for controller in host.controllers:
        controller.abort()
    await host.scripted.stop()


async def test_what_a_controller_is(host: Host) -> None:
    controller = await host.connect(io_queues=2)
    assert (controller.cntlid, controller.serial_number, controller.model_number) == (1, "SERIAL", "MODEL")
    assert controller.max_transfer == 128 << 10
    memory, shown = host.scripted.namespaces[1], controller.namespaces[1]
    assert (shown.uuid, shown.nguid) == (str(memory.uuid), memory.uuid.hex)
    assert (shown.block_size, shown.num_blocks, shown.is_read_only, shown.anagrpid) == (BLOCK, 4096, False, 1)
    assert sorted(queue.qid for queue in host.scripted.queues) == [0, 1, 2]


async def test_more_namespaces_than_one_list_has(host: Host) -> None:
    host.scripted.namespaces = {nsid: Memory(num_blocks=1) for nsid in range(1, 1101)}
    host.scripted.identify(nn=2048, nanagrpid=2048)
    controller = await host.connect()
    assert list(controller.namespaces) == list(range(1, 1101))


@pytest.mark.parametrize("digests", [False, True])
async def test_io_of_any_size_is_what_a_plain_memory_does(host: Host, digests: bool) -> None:
    controller = await host.connect(hdgst=digests, ddgst=digests, io_queues=2, queue_depth=4)
    memory = host.scripted.namespaces[1]
    rng = random.Random(7)
    expected = bytearray(len(memory.data))
    for _ in range(150):
        blocks = rng.choice((1, 7, 8, 9, 100, 256, 257, 1500))
        start = rng.randrange(memory.num_blocks - blocks) * BLOCK
        piece = slice(start, start + blocks * BLOCK)
        match rng.choice(("write", "read", "zero", "unmap")):
            case "write":
                data = rng.randbytes(blocks * BLOCK)
                await controller.write(1, start, rng.choice((bytes, bytearray, memoryview))(data))
                expected[piece] = data
            case "zero":
                await controller.write_zeroes(1, start, blocks * BLOCK)
                expected[piece] = bytes(blocks * BLOCK)
            case "unmap":
                await controller.unmap(1, start, blocks * BLOCK)
                expected[piece] = b"\xdd" * (blocks * BLOCK)
        assert await controller.read(1, start, blocks * BLOCK) == expected[piece]
    assert memory.data == expected


async def test_commands_are_no_larger_than_the_controller_takes(host: Host) -> None:
    controller = await host.connect()
    await controller.write(1, 0, bytes(1025 * BLOCK))
    await controller.write_zeroes(1, 0, 200 * BLOCK)  # 32 KiB at a time: wzsl 3
    sizes = [(command.opcode, command.num_blocks) for command in host.scripted.commands]
    assert sizes[:5] == [(IoOpcode.WRITE, 256)] * 4 + [(IoOpcode.WRITE, 1)]
    assert sizes[5:] == [(IoOpcode.WRITE_ZEROES, 64)] * 3 + [(IoOpcode.WRITE_ZEROES, 8)]
    host.scripted.commands.clear()
    await controller.unmap(1, 0, 250 * BLOCK)  # 100 blocks a range, one range a command
    assert [command.cdw10 for command in host.scripted.commands] == [0, 0, 0]


async def test_a_controller_without_limits_gets_ranges_of_what_a_range_can_say(host: Host) -> None:
    host.scripted.nvm = NvmController()
    host.scripted.namespaces[1] = Memory(num_blocks=8)
    host.scripted.namespaces[1].num_blocks = MANY + 8
    controller = await host.connect()
    await controller.unmap(1, 0, MANY * BLOCK)
    assert len(host.scripted.commands) == 2


async def test_a_controller_that_cannot_is_asked_for_what_it_can(host: Host) -> None:
    host.scripted.identify(oncs=0, vwc=0)
    controller = await host.connect()
    await controller.write(1, 0, b"x" * BLOCK)
    await controller.unmap(1, 0, BLOCK)
    await controller.flush(1)
    assert await controller.read(1, 0, BLOCK) == b"x" * BLOCK
    await controller.write_zeroes(1, 0, 300 * BLOCK)
    assert await controller.read(1, 0, BLOCK) == bytes(BLOCK)
    assert {command.opcode for command in host.scripted.commands} == {IoOpcode.WRITE, IoOpcode.READ}


async def test_a_failing_part_fails_the_whole_when_every_part_has_ended(host: Host) -> None:
    controller = await host.connect()
    host.scripted.held = {IoOpcode.WRITE}
    write = asyncio.ensure_future(controller.write(1, 0, b"x" * 512 * BLOCK))
    await host.until(lambda: len(host.scripted.commands) == 2, "both parts")
    far = host.scripted.io_queue
    failing, slow = list(far.waiting)
    far.fail(failing, NvmeError(status.WRITE_FAULT))
    await controller.read(1, 0, BLOCK)  # comes behind the failure
    assert not write.done()
    far.ask(slow, 0, slow.sgl.length)
    with pytest.raises(NvmeError) as failed:
        await write
    assert failed.value.status == status.WRITE_FAULT
    assert host.scripted.namespaces[1].data[slow.slba * BLOCK :][:BLOCK] == b"x" * BLOCK


async def test_a_namespace_that_is_not_there(host: Host) -> None:
    controller = await host.connect()
    with pytest.raises(NvmeError) as failed:
        await controller.read(9, 0, BLOCK)
    assert failed.value.status == status.INVALID_NAMESPACE


async def test_namespaces_come_grow_are_replaced_and_go(host: Host) -> None:
    controller = await host.connect()
    host.scripted.namespaces[2] = Memory(num_blocks=8)
    host.scripted.namespaces[1].grow(8192)
    host.scripted.tell_changed(1, 2)
    await host.until(lambda: controller.namespaces.get(2) is not None, "namespace 2")
    assert controller.namespaces[1].num_blocks == 8192
    other = Memory(num_blocks=8)
    host.scripted.namespaces[2] = other
    host.scripted.tell_changed(2)
    await host.until(lambda: controller.namespaces[2].uuid == str(other.uuid), "another namespace 2")
    del host.scripted.namespaces[1]
    host.scripted.tell_changed(1)
    await host.until(lambda: list(controller.namespaces) == [2], "the end of namespace 1")
    assert host.changes == 3


async def test_too_many_changes_for_a_list_are_looked_at_all_the_same(host: Host) -> None:
    controller = await host.connect()
    host.scripted.namespaces[1].grow(8192)
    host.scripted.tell_changed(*range(1, 2000))
    await host.until(lambda: controller.namespaces[1].num_blocks == 8192, "the new size")


async def test_ana_states_are_followed(host: Host) -> None:
    controller = await host.connect()
    assert controller.ana_state(1) == AnaState.OPTIMIZED
    host.scripted.namespaces[1].state = AnaState.INACCESSIBLE
    host.scripted.tell_ana()
    await host.until(lambda: controller.ana_state(1) == AnaState.INACCESSIBLE, "the new state")
    assert host.changes == 1
    assert controller.ana_state(7) == AnaState.INACCESSIBLE


async def test_a_silent_controller_is_lost(host: Host) -> None:
    controller = await host.connect(kato_ms=100)
    await host.until(lambda: host.scripted.keep_alives >= 3, "keep alives")
    assert host.losses == 0
    host.scripted.held = {IoOpcode.READ}
    host.scripted.is_deaf = True
    with pytest.raises(ConnectionLostError):
        await controller.read(1, 0, BLOCK)
    assert host.losses == 1
    await host.nobody_connected()


async def test_without_keep_alive_nobody_speaks(host: Host) -> None:
    controller = await host.connect(kato_ms=0)
    assert len(controller._tasks) == 1  # who waits for events


async def test_one_lost_queue_is_the_end_of_all(host: Host) -> None:
    controller = await host.connect(io_queues=2)
    host.scripted.held = {IoOpcode.READ}
    reads = [asyncio.ensure_future(controller.read(1, 0, BLOCK)) for _ in range(4)]
    await host.until(lambda: len(host.scripted.commands) == 4, "the reads")
    next(queue for queue in host.scripted.queues if queue.qid == 2).transport.abort()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * 4
    assert host.losses == 1
    await host.nobody_connected()


async def test_the_first_io_opens_a_queue_where_none_was_asked_for(host: Host) -> None:
    controller = await host.connect(io_queues=0)
    assert [queue.qid for queue in host.scripted.queues] == [0]
    first = asyncio.ensure_future(controller.read(1, 0, BLOCK))
    others = [asyncio.ensure_future(controller.read(1, 0, BLOCK)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()  # whoever opens it may leave
    await asyncio.gather(*others)
    assert sorted(queue.qid for queue in host.scripted.queues) == [0, 1]


async def test_a_queue_that_cannot_be_opened_is_the_end_of_all(host: Host) -> None:
    controller = await host.connect(io_queues=0)
    host.scripted.refused = NvmeError(status.CONNECT_INVALID_HOST, dnr=True)
    reads = [asyncio.ensure_future(controller.read(1, 0, BLOCK)) for _ in range(3)]
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionLostError] * 3
    assert host.losses == 1
    await host.nobody_connected()


async def test_leaving_takes_leave(host: Host) -> None:
    controller = await host.connect()
    host.scripted.held = {IoOpcode.READ}
    read = asyncio.ensure_future(controller.read(1, 0, BLOCK))
    await host.until(lambda: bool(host.scripted.commands), "the read")
    await controller.disconnect()
    assert host.scripted.shutdowns == 1
    with pytest.raises(ConnectionLostError):
        await read
    with pytest.raises(ConnectionLostError):
        await controller.read(1, 0, BLOCK)
    await host.nobody_connected()
    assert host.losses == 0


async def test_a_refused_host_gets_the_status(host: Host) -> None:
    host.scripted.refused = NvmeError(status.CONNECT_INVALID_HOST, dnr=True)
    with pytest.raises(NvmeError) as refused:
        await host.connect()
    assert refused.value.status == status.CONNECT_INVALID_HOST
    await host.nobody_connected()


async def test_nonsense_is_no_controller(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.scripted, "ana", lambda: b"\xff" * 4096)
    with pytest.raises(ConnectionLostError):
        await host.connect()
    await host.nobody_connected()
    assert host.losses == 0


@types.coroutine
def cut_at(coroutine: Coroutine[Any, Any, Any], at: int) -> Generator[Any, Any, bool]:
    """Runs `coroutine` and cancels what it waits for at its suspension number `at`; whether that cut it."""
    suspensions, resume = 0, partial(coroutine.send, None)
    while True:
        try:
            waits_for = resume()
        except StopIteration:
            return False
        except asyncio.CancelledError:
            return True
        suspensions += 1
        if suspensions == at:
            waits_for.cancel()
        try:
            yield waits_for
        except BaseException as error:
            resume = partial(coroutine.throw, error)
        else:
            resume = partial(coroutine.send, None)


async def test_connecting_cut_at_every_await_leaves_nothing_open(host: Host) -> None:
    at = 0
    while True:
        at += 1
        was_cut = await cut_at(host.connect(io_queues=1), at)
        if not was_cut:
            break
        await host.nobody_connected()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"cut {at} leaves {others}"
    assert at > 10 and host.losses == 0
    assert len(host.scripted.queues) == 2
