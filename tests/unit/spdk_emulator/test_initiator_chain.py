"""Bytes from a host through a DPU to a storage node, each a process: kills, fences, second paths, limits of time."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.spdk_emulator.chain import BACK, BLOCK, HOSTNQN, Chain, Writer, chain
from tests.unit.spdk_emulator.processes import until

from dpucsi.nvme_tcp.host import HostController
from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Chain]:
    async with chain(tmp_path) as rig:
        yield rig


@pytest.fixture
async def connect(rig: Chain) -> AsyncIterator[Callable[[], Awaitable[HostController]]]:
    hosts: list[HostController] = []

    async def one() -> HostController:
        hosts.append(await rig.host())
        return hosts[-1]

    yield one
    for host in hosts:
        host.abort()


Connect = Callable[[], Awaitable[HostController]]


async def rounds(writer: Writer, more: int) -> None:
    """Waits for so many rounds more; a writer that has failed says why."""
    wanted = writer.rounds + more

    async def look() -> bool | None:
        for lane in writer._lanes:
            if lane.done():
                lane.result()
        return True if writer.rounds >= wanted else None

    await until(look, f"{more} rounds of writing")


async def states(rig: Chain, *wanted: str) -> None:
    async def look() -> bool | None:
        return True if await rig.states() == list(wanted) else None

    await until(look, f"paths {wanted}")


@pytest.mark.parametrize("digests", [False, True])
async def test_a_killed_storage_node_costs_time_and_no_byte(rig: Chain, connect: Connect, digests: bool) -> None:
    await rig.attach(0, hdgst=digests, ddgst=digests)
    writer = Writer(await connect())
    await rounds(writer, 50)
    await rig.storage.end(signal.SIGKILL)
    await states(rig, "reconnect_is_delayed")
    await rig.restart_storage()
    await rounds(writer, 50)
    await writer.end()


async def test_a_second_path_takes_over_at_once(rig: Chain, connect: Connect) -> None:
    await rig.attach(0, 1, reconnect_delay_sec=5)
    writer = Writer(await connect())
    await rounds(writer, 20)
    await rig.storage.call("nvmf_subsystem_remove_listener", nqn=BACK, listen_address=rig.paths[0])
    await rounds(writer, 20)
    await states(rig, "reconnect_is_delayed", "enabled")
    await rig.storage.call("nvmf_subsystem_add_listener", nqn=BACK, listen_address=rig.paths[0])
    await writer.end()


async def test_a_fence_lets_nothing_through_and_what_waited_goes_on(rig: Chain, connect: Connect) -> None:
    async def written() -> int:
        (figures,) = (await rig.storage.call("bdev_get_iostat", names=[rig.lvol]))["bdevs"]
        return int(figures["bytes_written"])

    await rig.attach(0)
    writer = Writer(await connect())
    await rounds(writer, 20)
    await rig.storage.call("nvmf_subsystem_remove_host", nqn=BACK, host=HOSTNQN)
    fenced_at, rounds_then = await written(), writer.rounds
    await states(rig, "reconnect_is_delayed")
    assert await written() == fenced_at
    await rig.storage.call("nvmf_subsystem_add_host", nqn=BACK, host=HOSTNQN)
    await rounds(writer, 20)
    await writer.end()
    assert writer.rounds > rounds_then and await written() > fenced_at


async def test_io_fails_at_its_time_and_works_again_later(rig: Chain, connect: Connect) -> None:
    await rig.attach(0, fast_io_fail_timeout_sec=1)
    host = await connect()
    await host.write(1, 0, bytes(BLOCK))
    await rig.storage.end(signal.SIGKILL)
    started = asyncio.get_running_loop().time()
    with pytest.raises(NvmeError) as failed:
        await host.write(1, 0, bytes(BLOCK))
    assert failed.value.status == INTERNAL_ERROR
    assert 0.9 <= asyncio.get_running_loop().time() - started < 4
    await rig.restart_storage()
    await states(rig, "enabled")
    await host.write(1, 0, b"x" * BLOCK)
    assert await host.read(1, 0, BLOCK) == b"x" * BLOCK


async def test_a_grown_lvol_is_grown_for_the_host(rig: Chain, connect: Connect) -> None:
    await rig.attach(0)
    host = await connect()
    await rig.storage.call("bdev_lvol_resize", name=rig.lvol, size_in_mib=32)

    async def grown() -> bool | None:
        return True if host.namespaces[1].size == 32 << 20 else None

    await until(grown, "the new size")
    await host.write(1, (32 << 20) - BLOCK, b"x" * BLOCK)
    assert await host.read(1, (32 << 20) - BLOCK, BLOCK) == b"x" * BLOCK
