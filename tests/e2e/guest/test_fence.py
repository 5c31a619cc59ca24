"""A host that loses its right to the volume under load: from then on not one byte of it arrives."""

import asyncio

import pytest
from tests.contract.nvme_tcp.storage_node import HOST, Export, StorageNode
from tests.e2e.guest.linux_host import LinuxHost
from tests.e2e.guest.linux_io import bytes_change, endless

from dpucsi.aio import wait_until
from dpucsi.spdk import nvmf

pytestmark = pytest.mark.asyncio(loop_scope="session")

_RETRIES = ("--reconnect-delay=1", "--ctrl-loss-tmo=10")


async def fenced(storage: StorageNode, export: Export) -> None:
    """Ours has cut the host off when it answers. SPDK is done when it shows no session any more."""

    async def nobody() -> bool | None:
        return True if await storage.hosts_connected(export) == [] else None

    if storage.process.kind == "emulator":
        assert await nobody()
    await wait_until(nobody, "the end of the session at the target", timeout_s=10)


async def test_no_byte_of_a_removed_host_arrives(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = await host.connect(export, *_RETRIES)
    disk = await host.disk(export.uuid)
    await host.fail_io_after(controller, 1)
    load = asyncio.create_task(host.run(endless(disk), timeout_s=90))
    await bytes_change(export)
    await nvmf.nvmf_subsystem_remove_host(storage.spdk, nqn=export.nqn, host=HOST)
    await fenced(storage, export)
    left = export.digest()
    assert (await load)[0] != 0, "the load went on without a right to the volume"
    assert export.digest() == left
    await host.state(controller, "connecting", "")
    assert export.digest() == left


async def test_a_host_that_may_come_back_comes_back_by_itself(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = await host.connect(export, *_RETRIES)
    disk = await host.disk(export.uuid)
    await nvmf.nvmf_subsystem_remove_host(storage.spdk, nqn=export.nqn, host=HOST)
    await host.state(controller, "connecting")
    await nvmf.nvmf_subsystem_add_host(storage.spdk, nqn=export.nqn, host=HOST)
    await host.state(controller, "live")
    await host.sh(f"dd if=/dev/urandom of={disk.path} bs=64k count=4 oflag=direct conv=fsync 2>/dev/null")


async def test_a_host_that_may_not_come_back_is_given_up(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = await host.connect(export, "--reconnect-delay=1", "--ctrl-loss-tmo=2")
    await host.disk(export.uuid)
    await nvmf.nvmf_delete_subsystem(storage.spdk, nqn=export.nqn)
    await host.state(controller, "")
    await host.no_disk(export.uuid)
