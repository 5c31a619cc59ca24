"""A DPU connected to a storage node: two processes and a network between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest
from tests.contract.spdk.conftest import make_storage_node
from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi.aio import wait_until
from dpucsi.spdk import SpdkClient, SpdkError, bdev, lvol, nvme, nvmf
from dpucsi.spdk.address import TransportAddress


def nguid(uuid: str) -> str:
    return uuid.replace("-", "").upper()


HOST, OTHER = "nqn.2024-01.io.dpucsi:dpu:1:aaaaaaaa", "nqn.2024-01.io.dpucsi:dpu:2:bbbbbbbb"


@dataclass(frozen=True)
class Export:
    """A volume that a storage node shows to `HOST`."""

    nqn: str
    address: TransportAddress
    uuid: str
    lvol_uuid: str


async def export(storage: SpdkClient, nqn: str, address: TransportAddress, name: str) -> Export:
    uuid = str(uuid4())
    made = await lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=name, size_in_mib=16, thin_provision=True)
    await show(storage, nqn, address, made, uuid)
    return Export(nqn, address, uuid, made)


async def show(storage: SpdkClient, nqn: str, address: TransportAddress, bdev_name: str, uuid: str) -> None:
    await asyncio.gather(
        nvmf.nvmf_create_subsystem(storage, nqn=nqn, serial_number="S1", ana_reporting=True),
        nvmf.nvmf_subsystem_add_ns(storage, nqn=nqn, bdev_name=bdev_name, nsid=1, uuid=uuid, nguid=nguid(uuid)),
        nvmf.nvmf_subsystem_add_host(storage, nqn=nqn, host=HOST),
        nvmf.nvmf_subsystem_add_listener(storage, nqn=nqn, address=address),
    )


@pytest.fixture
async def exported(storage: SpdkClient, nqn: str, address: TransportAddress, name: str) -> AsyncIterator[Export]:
    exported = await export(storage, nqn, address, name)
    yield exported
    await nvmf.nvmf_delete_subsystem(storage, nqn=nqn)
    await lvol.bdev_lvol_delete(storage, name=f"lvs0/{name}")


@pytest.fixture
async def attached(dpu: SpdkClient, exported: Export, name: str) -> AsyncIterator[str]:
    """The name of the bdev on the DPU."""
    (bdev_name,) = await attach(dpu, exported, name)
    yield bdev_name
    await nvme.bdev_nvme_detach_controller(dpu, name=name)


async def attach(dpu: SpdkClient, to: Export, name: str, hostnqn: str = HOST, subnqn: str = "") -> tuple[str, ...]:
    return await nvme.bdev_nvme_attach_controller(
        dpu,
        name=name,
        address=to.address,
        subnqn=subnqn or to.nqn,
        hostnqn=hostnqn,
        multipath="multipath",
        ctrlr_loss_timeout_sec=-1,
        reconnect_delay_sec=1,
        fast_io_fail_timeout_sec=2,
    )


async def until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    async def true() -> bool | None:
        return await look() or None

    await wait_until(true, what, timeout_s=20)


async def state(dpu: SpdkClient, name: str) -> str:
    found = await nvme.find_nvme_controller(dpu, name)
    assert found is not None
    return found.paths[0].state


async def test_attach_and_detach(storage: SpdkClient, dpu: SpdkClient, exported: Export, name: str) -> None:
    assert await nvmf.nvmf_subsystem_get_controllers(storage, nqn=exported.nqn) == ()
    assert await attach(dpu, exported, name) == (f"{name}n1",)
    remote = await bdev.find_bdev(dpu, f"{name}n1")
    assert remote is not None
    assert (remote.uuid, remote.size_bytes, remote.aliases) == (exported.uuid, 16 << 20, (exported.uuid,))
    found = await nvme.find_nvme_controller(dpu, name)
    assert found is not None
    (path,) = found.paths
    assert (path.address, path.subnqn, path.hostnqn, path.state) == (exported.address, exported.nqn, HOST, nvme.ENABLED)
    assert found in await nvme.bdev_nvme_get_controllers(dpu)
    (session,) = await nvmf.nvmf_subsystem_get_controllers(storage, nqn=exported.nqn)
    assert (session.hostnqn, session.cntlid) == (HOST, path.cntlid)

    await nvme.bdev_nvme_detach_controller(dpu, name=name)
    assert await nvme.find_nvme_controller(dpu, name) is None
    assert await bdev.find_bdev(dpu, exported.uuid) is None

    async def gone() -> bool:
        return await nvmf.nvmf_subsystem_get_controllers(storage, nqn=exported.nqn) == ()

    await until(gone, "the session's end at the target")
    with pytest.raises(SpdkError):
        await nvme.bdev_nvme_detach_controller(dpu, name=name)


async def test_what_cannot_be_attached_leaves_nothing(dpu: SpdkClient, exported: Export, name: str) -> None:
    closed = Export(exported.nqn, TransportAddress("TCP", "127.0.0.1", "1", "IPv4"), "", "")
    for refused in (
        attach(dpu, exported, name, hostnqn=OTHER),
        attach(dpu, closed, name),
        attach(dpu, exported, name, subnqn=f"{exported.nqn}x"),
    ):
        with pytest.raises(SpdkError):
            await refused
        assert await nvme.find_nvme_controller(dpu, name) is None
    assert await bdev.find_bdev(dpu, exported.uuid) is None


async def test_attaching_again_changes_nothing(dpu: SpdkClient, exported: Export, attached: str, name: str) -> None:
    before = await nvme.find_nvme_controller(dpu, name)
    for refused in (attach(dpu, exported, name), attach(dpu, exported, name, subnqn=f"{exported.nqn}x")):
        with pytest.raises(SpdkError):
            await refused
    assert await nvme.find_nvme_controller(dpu, name) == before


async def test_options_come_first(dpu: SpdkClient, attached: str) -> None:
    with pytest.raises(SpdkError):
        await nvme.bdev_nvme_set_options(dpu, bdev_retry_count=3)


async def test_removing_the_host_cuts_it_off(
    storage: SpdkClient, dpu: SpdkClient, exported: Export, attached: str, name: str
) -> None:
    await nvmf.nvmf_subsystem_remove_host(storage, nqn=exported.nqn, host=HOST)

    async def fenced() -> bool:
        return await nvmf.nvmf_subsystem_get_controllers(storage, nqn=exported.nqn) == ()

    async def noticed() -> bool:
        return await state(dpu, name) != nvme.ENABLED

    async def back() -> bool:
        return await state(dpu, name) == nvme.ENABLED

    await until(fenced, "the fence at the target")
    await until(noticed, "the loss at the initiator")
    await nvmf.nvmf_subsystem_add_host(storage, nqn=exported.nqn, host=HOST)
    await until(back, "the reconnect of a host that is allowed again")


async def test_another_namespace_at_the_same_nsid_has_the_same_name_and_another_uuid(
    storage: SpdkClient, dpu: SpdkClient, exported: Export, attached: str, name: str
) -> None:
    other, uuid = f"{name}-other", str(uuid4())
    # An lvol, as a malloc bdev has a write cache, which no namespace may bring while a host is connected.
    made = await lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=other, size_in_mib=16, thin_provision=True)
    await nvmf.nvmf_subsystem_remove_ns(storage, nqn=exported.nqn, nsid=1)

    async def away() -> bool:
        return await bdev.find_bdev(dpu, attached) is None

    async def replaced() -> bool:
        found = await bdev.find_bdev(dpu, attached)
        return found is not None and found.uuid == uuid

    await until(away, "the removed namespace's end at the initiator")
    await nvmf.nvmf_subsystem_add_ns(storage, nqn=exported.nqn, bdev_name=made, nsid=1, uuid=uuid, nguid=nguid(uuid))
    await until(replaced, "the other namespace at the initiator")
    await nvmf.nvmf_subsystem_remove_ns(storage, nqn=exported.nqn, nsid=1)
    await lvol.bdev_lvol_delete(storage, name=made)


async def test_the_nguid_is_the_uuid_that_an_initiator_sees(
    storage: SpdkClient, dpu: SpdkClient, nqn: str, address: TransportAddress, name: str
) -> None:
    """Why both are always given: left out, the nguid is the lvol's own uuid, and the DPU would see that one."""
    made = await lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=name, size_in_mib=16, thin_provision=True)
    await nvmf.nvmf_create_subsystem(storage, nqn=nqn, serial_number="S", allow_any_host=True)
    await nvmf.nvmf_subsystem_add_listener(storage, nqn=nqn, address=address)
    await nvmf.nvmf_subsystem_add_ns(storage, nqn=nqn, bdev_name=made, nsid=1, uuid=str(uuid4()))
    await attach(dpu, Export(nqn, address, "", made), name)
    remote = await bdev.find_bdev(dpu, f"{name}n1")
    assert remote is not None
    assert remote.uuid == made
    await nvme.bdev_nvme_detach_controller(dpu, name=name)
    await nvmf.nvmf_delete_subsystem(storage, nqn=nqn)
    await lvol.bdev_lvol_delete(storage, name=made)


async def test_growth_shows_at_the_initiator(
    storage: SpdkClient, dpu: SpdkClient, exported: Export, attached: str
) -> None:
    await lvol.bdev_lvol_resize(storage, name=exported.lvol_uuid, size_in_mib=32)

    async def grown() -> bool:
        found = await bdev.find_bdev(dpu, exported.uuid)
        return found is not None and found.size_bytes == 32 << 20

    await until(grown, "the larger size at the initiator")


async def test_deleting_the_subsystem_ends_the_session(
    storage: SpdkClient, dpu: SpdkClient, exported: Export, attached: str, name: str
) -> None:
    await nvmf.nvmf_delete_subsystem(storage, nqn=exported.nqn)

    async def noticed() -> bool:
        return await state(dpu, name) != nvme.ENABLED

    await until(noticed, "the loss at the initiator")
    await show(storage, exported.nqn, exported.address, exported.lvol_uuid, exported.uuid)

    async def back() -> bool:
        return await state(dpu, name) == nvme.ENABLED

    await until(back, "the reconnect to the same subsystem")


async def test_a_killed_storage_node_is_seen_and_its_return_too(
    make_process: Callable[..., SpdkProcess], nqn: str, address: TransportAddress
) -> None:
    node, card = make_process(), make_process()
    async with SpdkClient(node.endpoint, name="storage node") as storage, SpdkClient(card.endpoint) as dpu:
        await make_storage_node(storage, node, mib=256)
        exported = await export(storage, nqn, address, "v")
        await attach(dpu, exported, "c1")
        first = storage.instance
        node.kill()

        async def noticed() -> bool:
            return await state(dpu, "c1") != nvme.ENABLED

        async def back() -> bool:
            return await state(dpu, "c1") == nvme.ENABLED

        await until(noticed, "the loss at the initiator")
        node.start()
        await asyncio.wait_for(storage.new_instance(other_than=first), 30)
        await nvmf.nvmf_create_transport(storage, trtype="TCP")
        image = str(node.folder / "disk0.img")
        await bdev.bdev_aio_create(storage, name="disk0", filename=image, block_size=4096)
        await show(storage, nqn, address, exported.lvol_uuid, exported.uuid)
        await until(back, "the reconnect to the same export")
        remote = await bdev.find_bdev(dpu, exported.uuid)
        assert remote is not None
        assert remote.name == "c1n1"
