"""A VFIOUSER listener: the same PDUs over a socket in a folder, and what its files tell whoever watches them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.spdk_emulator.target_rig import BLOCK, HOSTNQN, OTHER, SUBNQN, Rig, read, refusal, until, write

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.host_queue import ConnectionLostError
from dpucsi.nvme_tcp.identify import Cns, IdentifyController
from spdk_emulator.rpc.errors import RpcError


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.make()
    await rig.call("nvmf_create_transport", trtype="VFIOUSER")
    yield rig
    rig.close()


@pytest.fixture
async def folder(rig: Rig, tmp_path: Path) -> Path:
    await rig.call("nvmf_subsystem_add_listener", nqn=SUBNQN, listen_address=address(tmp_path))
    return tmp_path


def address(folder: Path) -> dict[str, str]:
    return {"trtype": "VFIOUSER", "traddr": str(folder), "trsvcid": "0"}


async def test_a_host_that_knows_no_name_is_served(rig: Rig, folder: Path) -> None:
    session = await rig.connect(path=folder / "cntrl", subnqn="", hostnqn=OTHER)
    seen = IdentifyController.decode(await session.identify(Cns.CONTROLLER))
    assert (seen.subnqn, seen.in_capsule_data, seen.maxcmd) == (SUBNQN, 0, 256)
    queue, _ = await rig.queue(path=folder / "cntrl", qid=1, subnqn="", hostnqn=OTHER, cntlid=session.cntlid)
    queue.in_capsule_size = 0
    await write(queue, 1, b"v" * BLOCK)
    assert await read(queue, 1) == b"v" * BLOCK
    (queues, _) = await rig.call("nvmf_subsystem_get_qpairs", nqn=SUBNQN)
    assert queues["listen_address"]["trtype"] == "VFIOUSER"


async def test_there_is_one_controller_on_a_function(rig: Rig, folder: Path) -> None:
    first = await rig.connect(path=folder / "cntrl", subnqn="")
    assert await refusal(rig.connect(path=folder / "cntrl", subnqn="")) == status.CONNECT_CONTROLLER_BUSY
    first.admin.abort()
    await until(lambda: not rig.subsystem.controllers, "the controller's end")
    await rig.connect(path=folder / "cntrl", subnqn="")


async def test_a_host_that_left_holds_the_function_while_its_command_runs(rig: Rig, folder: Path) -> None:
    """The next one would send the command again, and the late effect of the first would come over what follows it."""
    held, let_go = asyncio.Event(), asyncio.Event()

    class Slow:
        async def write(self, offset: int, data: object) -> None:
            held.set()
            await let_go.wait()

    rig.bdev.io = Slow()  # type: ignore[assignment]  # only written to
    first = await rig.connect(path=folder / "cntrl", subnqn="")
    queue, _ = await rig.queue(path=folder / "cntrl", qid=1, subnqn="", cntlid=first.cntlid)
    queue.in_capsule_size = 0
    writing = asyncio.create_task(write(queue, 0, bytes(BLOCK)))
    await held.wait()
    queue.abort()
    first.admin.abort()
    with pytest.raises(ConnectionLostError):
        await writing
    assert await refusal(rig.connect(path=folder / "cntrl", subnqn="")) == status.CONNECT_CONTROLLER_BUSY
    let_go.set()
    await until(lambda: not rig.subsystem.controllers, "the controller's end")
    await rig.connect(path=folder / "cntrl", subnqn="")


async def test_another_name_is_not_behind_it(rig: Rig, folder: Path) -> None:
    wrong = rig.connect(path=folder / "cntrl", subnqn="nqn.2024-01.io.example:none")
    assert await refusal(wrong) == status.CONNECT_INVALID_PARAMETERS


async def test_the_files_go_before_the_connection(rig: Rig, folder: Path) -> None:
    session = await rig.connect(path=folder / "cntrl", subnqn="")
    tcp = await rig.connect()
    seen: list[list[str]] = []
    waiting = session.event()
    waiting.add_done_callback(lambda _: seen.append([file.name for file in folder.iterdir()]))
    await rig.call("nvmf_subsystem_remove_listener", nqn=SUBNQN, listen_address=address(folder))
    with pytest.raises(ConnectionLostError):
        await waiting
    assert seen == [[]]
    assert [entry["cntlid"] for entry in await rig.controllers()] == [tcp.cntlid]
    assert not tcp.admin.is_lost


async def test_a_write_that_never_ends_does_not_hold_up_its_removal(rig: Rig, folder: Path) -> None:
    """As with an NVMe bdev that waits for a lost path."""
    held = asyncio.Event()

    class Held:
        async def write(self, offset: int, data: object) -> None:
            held.set()
            await asyncio.Event().wait()

    rig.bdev.io = Held()  # type: ignore[assignment]  # only written to
    session = await rig.connect(path=folder / "cntrl", subnqn="")
    queue, _ = await rig.queue(path=folder / "cntrl", qid=1, subnqn="", cntlid=session.cntlid)
    queue.in_capsule_size = 0
    writing = asyncio.create_task(write(queue, 0, bytes(BLOCK)))
    await held.wait()
    await rig.call("nvmf_subsystem_remove_ns", nqn=SUBNQN, nsid=1)
    await rig.call("nvmf_delete_subsystem", nqn=SUBNQN)
    with pytest.raises(ConnectionLostError):
        await writing


async def test_a_socket_that_is_there_blocks_the_next_one(rig: Rig, folder: Path) -> None:
    await rig.call("nvmf_create_subsystem", nqn=SUBNQN + "2", allow_any_host=True)
    with pytest.raises(RpcError):
        await rig.call("nvmf_subsystem_add_listener", nqn=SUBNQN + "2", listen_address=address(folder))
    assert (folder / "cntrl").exists()


async def test_ending_the_target_unplugs(rig: Rig, folder: Path) -> None:
    session = await rig.connect(path=folder / "cntrl", subnqn="", hostnqn=HOSTNQN)
    rig.emulator.target.close()
    assert list(folder.iterdir()) == []
    await until(lambda: session.admin.is_lost, "the end")
