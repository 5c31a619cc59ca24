"""Two listeners, one disk: the kernel's native multipath with ANA, a path that fails, a storage node that dies."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from tests.contract.nvme_tcp.storage_node import Export, StorageNode
from tests.e2e.guest.linux_host import Disk, LinuxHost
from tests.e2e.guest.linux_io import bytes_change, verified

from dpucsi.aio import wait_until
from dpucsi.spdk import nvmf
from dpucsi.spdk.jsonrpc import Params

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PATIENT = ("--reconnect-delay=1", "--ctrl-loss-tmo=60")
_LOAD = ("--rw=randwrite", "--bs=32k", "--iodepth=16", "--size=16m", "--loops=2")


async def hidden_path(host: LinuxHost, controller: str, disk: Disk) -> str:
    """The folder of the disk's path through this controller: nvmeScCnN."""
    namespace = disk.name.partition("n")[2].partition("n")[2]
    return (await host.sh(f"ls -d /sys/class/nvme/{controller}/nvme*c*n{namespace}")).strip()


async def ana_state(host: LinuxHost, controller: str, disk: Disk) -> str:
    return (await host.sh(f"cat {await hidden_path(host, controller, disk)}/ana_state")).strip()


async def writes(host: LinuxHost, controller: str, disk: Disk) -> int:
    """How many went through this controller."""
    return int((await host.sh(f"cat {await hidden_path(host, controller, disk)}/stat")).split()[4])


async def listener(storage: StorageNode, export: Export, number: int, state: str) -> None:
    """One more listener of the subsystem, in this ANA state."""
    where: Params = {"nqn": export.nqn, "listen_address": export.addresses[number].params(), "ana_state": state}
    await storage.spdk.call("nvmf_subsystem_add_listener", where)


async def test_io_goes_on_over_the_other_path_and_the_lost_one_comes_back(
    host: LinuxHost, storage: StorageNode
) -> None:
    export = await storage.export_file(16, listeners=2)
    first, second = [await host.connect(export, *_PATIENT, path=number) for number in (0, 1)]
    disk = await host.disk(export.uuid)
    assert [await ana_state(host, controller, disk) for controller in (first, second)] == ["optimized"] * 2
    load = asyncio.create_task(host.sh(verified(disk, *_LOAD), timeout_s=90))
    await bytes_change(export)
    await nvmf.nvmf_subsystem_remove_listener(storage.spdk, nqn=export.nqn, address=export.addresses[0])
    await host.state(first, "connecting")
    assert await host.attribute(second, "state") == "live"
    await load
    await nvmf.nvmf_subsystem_add_listener(storage.spdk, nqn=export.nqn, address=export.addresses[0])
    await host.state(first, "live")


async def test_io_takes_the_optimized_path(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8, listeners=2)
    for address in export.addresses:
        await nvmf.nvmf_subsystem_remove_listener(storage.spdk, nqn=export.nqn, address=address)
    await listener(storage, export, 0, "non_optimized")
    await listener(storage, export, 1, "optimized")
    slow, quick = [await host.connect(export, *_PATIENT, path=number) for number in (0, 1)]
    disk = await host.disk(export.uuid)
    assert await ana_state(host, slow, disk) == "non-optimized"
    assert await ana_state(host, quick, disk) == "optimized"
    before = [await writes(host, controller, disk) for controller in (slow, quick)]
    await host.sh(f"dd if=/dev/urandom of={disk.path} bs=64k count=8 oflag=direct conv=fsync 2>/dev/null")
    after = [await writes(host, controller, disk) for controller in (slow, quick)]
    assert after[0] == before[0]
    assert after[1] > before[1]


async def test_io_follows_the_optimized_path_when_it_changes(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8, listeners=2)
    first, second = [await host.connect(export, *_PATIENT, path=number) for number in (0, 1)]
    disk = await host.disk(export.uuid)
    where: Params = {"nqn": export.nqn, "listen_address": export.addresses[0].params()}
    for state, shown in (("inaccessible", "inaccessible"), ("non_optimized", "non-optimized")):
        await storage.spdk.call("nvmf_subsystem_listener_set_ana_state", {**where, "ana_state": state})

        async def told(shown: str = shown) -> bool | None:
            return True if await ana_state(host, first, disk) == shown else None

        await wait_until(told, f"the kernel's notice of {state}", timeout_s=10)
        before = await writes(host, second, disk)
        await host.sh(f"dd if=/dev/urandom of={disk.path} bs=64k count=8 oflag=direct conv=fsync 2>/dev/null")
        assert await writes(host, second, disk) > before


async def test_a_path_that_is_not_accessible_makes_no_disk_until_another_does(
    host: LinuxHost, storage: StorageNode
) -> None:
    export = await storage.export_file(8, listeners=2)
    for address in export.addresses:
        await nvmf.nvmf_subsystem_remove_listener(storage.spdk, nqn=export.nqn, address=address)
    await listener(storage, export, 0, "inaccessible")
    await listener(storage, export, 1, "optimized")
    await host.connect(export, *_PATIENT, path=0)
    assert await host.attribute("nvme0", "state") != "deleting"
    await host.connect(export, *_PATIENT, path=1)
    disk = await host.disk(export.uuid)
    await host.sh(f"dd if=/dev/urandom of={disk.path} bs=64k count=4 oflag=direct conv=fsync 2>/dev/null")


async def test_io_waits_for_a_killed_storage_node_and_goes_on(host: LinuxHost, storage: StorageNode) -> None:
    kind = storage.process.kind
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        node = StorageNode(kind, Path(folder), core=1)
        try:
            await node.start()
            export = await node.export_file(16)
            controller = await host.connect(export, *_PATIENT)
            disk = await host.disk(export.uuid)
            load = asyncio.create_task(host.sh(verified(disk, *_LOAD), timeout_s=90))
            await bytes_change(export)
            node.process.kill()
            await host.state(controller, "connecting")
            await node.start()
            await node.reopen(export)
            await node.show(export)
            await load
            assert await host.attribute(controller, "state") == "live"
        finally:
            await host.sh("nvme disconnect-all")
            await node.close()
