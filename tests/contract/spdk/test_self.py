"""SPDK about itself, requests sent together, notifications, and what a restart does."""

import asyncio
from collections.abc import Callable

import pytest
from spdk.rpc.client import JSONRPCClient
from tests.contract.spdk.conftest import make_storage_node
from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi.errors import UnavailableError
from dpucsi.spdk import ConnectionLostError, MethodNotFoundError, SpdkClient, SpdkError, Trace, bdev, lvol, notify, nvmf
from dpucsi.spdk.framework import framework_get_reactors

NEEDED = {
    "spdk_get_version rpc_get_methods framework_get_reactors bdev_get_bdevs bdev_get_iostat bdev_lvol_get_lvstores",
    "bdev_lvol_get_lvols bdev_lvol_create bdev_lvol_delete bdev_lvol_resize bdev_lvol_create_lvstore bdev_aio_create",
    "bdev_aio_delete bdev_malloc_create bdev_malloc_delete nvmf_get_transports nvmf_create_transport",
    "nvmf_get_subsystems nvmf_create_subsystem nvmf_delete_subsystem nvmf_subsystem_add_ns nvmf_subsystem_remove_ns",
    "nvmf_subsystem_add_listener nvmf_subsystem_remove_listener nvmf_subsystem_add_host nvmf_subsystem_remove_host",
    "nvmf_subsystem_get_controllers nvmf_set_max_subsystems bdev_nvme_set_options bdev_nvme_attach_controller",
    "bdev_nvme_detach_controller bdev_nvme_get_controllers notify_get_notifications",
}


async def test_version_methods_and_process(storage: SpdkClient, storage_process: SpdkProcess) -> None:
    await storage.new_instance()
    assert storage.version is not None
    assert storage.version.major >= 26
    assert storage.methods >= {method for line in NEEDED for method in line.split()}
    assert storage_process.process is not None
    assert storage.instance is not None
    assert storage.instance.pid == storage_process.process.pid
    assert (await framework_get_reactors(storage)).age_s


async def test_a_method_that_does_not_exist(storage: SpdkClient) -> None:
    with pytest.raises(MethodNotFoundError):
        await storage.call("no_such_method")


async def test_a_parameter_that_does_not_exist(storage: SpdkClient) -> None:
    with pytest.raises(SpdkError):
        await storage.call("bdev_lvol_resize", {"name": "x", "size_in_mib": 1, "nope": 1})


async def test_100_calls_together_are_one_round(storage: SpdkClient) -> None:
    await nvmf.nvmf_get_transports(storage)
    storage.trace = Trace()
    found = await asyncio.gather(*(bdev.find_bdev(storage, f"none-{n}") for n in range(100)))
    assert found == [None] * 100
    assert storage.trace.rounds == 1
    assert len(storage.trace.calls) == 100


async def test_300_lvols_through_the_window(storage: SpdkClient, name: str) -> None:
    await asyncio.gather(
        *(
            lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=f"{name}-{n}", size_in_mib=1, thin_provision=True)
            for n in range(300)
        )
    )
    assert len([one for one in await lvol.bdev_lvol_get_lvols(storage) if one.name.startswith(f"{name}-")]) == 300
    await asyncio.gather(*(lvol.bdev_lvol_delete(storage, name=f"lvs0/{name}-{n}") for n in range(300)))
    assert not [one for one in await lvol.bdev_lvol_get_lvols(storage) if one.name.startswith(f"{name}-")]


async def test_a_malformed_request_closes_the_connection_and_only_that(
    storage: SpdkClient, storage_process: SpdkProcess
) -> None:
    reader, writer = await asyncio.open_unix_connection(storage_process.socket)
    writer.write(b"{bad json}")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    assert await nvmf.nvmf_get_transports(storage)


async def test_both_clients_read_the_same(storage: SpdkClient, own_voice: JSONRPCClient) -> None:
    version = own_voice.call("spdk_get_version")
    await storage.new_instance()
    assert str(storage.version) == version["version"]
    assert storage.methods == set(own_voice.call("rpc_get_methods"))


async def test_notifications_tell_what_happened_to_bdevs(storage: SpdkClient, name: str) -> None:
    before = await notify.notify_get_notifications(storage, first_id=0)
    first_id = before[-1].id + 1 if before else 0
    await bdev.bdev_malloc_create(storage, name=name, num_blocks=2048, block_size=512)
    await bdev.bdev_malloc_delete(storage, name=name)
    seen = []
    async with asyncio.timeout(10):
        async for event in notify.notifications(storage, first_id=first_id, every_s=0.01):
            seen.append((event.type, event.ctx))
            if event.type == "bdev_unregister":
                break
    assert seen == [("bdev_register", name), ("bdev_unregister", name)]
    assert await notify.notify_get_notifications(storage, first_id=10**6) == ()


async def test_too_late_for_options_of_the_start(storage: SpdkClient) -> None:
    with pytest.raises(SpdkError):
        await nvmf.nvmf_set_max_subsystems(storage, max_subsystems=2048)


async def test_a_kill_is_noticed_and_loses_everything_but_the_lvols(
    make_process: Callable[..., SpdkProcess], nqn: str
) -> None:
    process = make_process()
    async with SpdkClient(process.endpoint, name="storage node") as client:
        await make_storage_node(client, process, mib=256)
        made = await lvol.bdev_lvol_create(client, lvs_name="lvs0", lvol_name="v", size_in_mib=8, thin_provision=True)
        await nvmf.nvmf_create_subsystem(client, nqn=nqn, serial_number="S")
        first = await client.new_instance()
        again = asyncio.ensure_future(client.new_instance(other_than=first))
        process.kill()
        with pytest.raises((ConnectionLostError, UnavailableError)):
            await client.call("spdk_get_version", timeout=0.3)
        process.start()
        second = await asyncio.wait_for(again, 30)
        assert (second.number, second.pid) == (2, process.process and process.process.pid)
        assert await nvmf.find_subsystem(client, nqn) is None
        assert await nvmf.nvmf_get_transports(client) == ()
        assert await bdev.find_bdev(client, "lvs0/v") is None
        await bdev.bdev_aio_create(client, name="disk0", filename=str(process.folder / "disk0.img"), block_size=4096)
        back = await bdev.find_bdev(client, "lvs0/v")
        assert back is not None
        assert (back.name, back.size_bytes) == (made, 8 << 20)
