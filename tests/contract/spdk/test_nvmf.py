"""NVMe-oF targets, without anybody connected."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from spdk.rpc.client import JSONRPCClient

from dpucsi.spdk import SpdkClient, SpdkError, Trace, bdev, lvol, nvmf
from dpucsi.spdk.address import TransportAddress

HOST, OTHER = "nqn.2024-01.io.dpucsi:dpu:1:aaaaaaaa", "nqn.2024-01.io.dpucsi:dpu:2:bbbbbbbb"
UUID = "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10"


@pytest.fixture
async def malloc(storage: SpdkClient, name: str) -> AsyncIterator[str]:
    yield await bdev.bdev_malloc_create(storage, name=name, num_blocks=2048, block_size=512)
    await bdev.bdev_malloc_delete(storage, name=name)


@pytest.fixture
async def subsystem(storage: SpdkClient, nqn: str) -> AsyncIterator[str]:
    await nvmf.nvmf_create_subsystem(storage, nqn=nqn, serial_number="S" * 20, model_number="M" * 40)
    yield nqn
    await nvmf.nvmf_delete_subsystem(storage, nqn=nqn)


async def look(storage: SpdkClient, nqn: str) -> nvmf.Subsystem:
    found = await nvmf.find_subsystem(storage, nqn)
    assert found is not None
    return found


async def test_a_whole_export_in_one_round(
    storage: SpdkClient, malloc: str, nqn: str, address: TransportAddress, own_voice: JSONRPCClient
) -> None:
    await nvmf.nvmf_get_transports(storage)
    storage.trace = Trace()
    _, nsid, _, _ = await asyncio.gather(
        nvmf.nvmf_create_subsystem(
            storage, nqn=nqn, serial_number="S1", model_number="DPU CSI", max_namespaces=1, ana_reporting=True
        ),
        nvmf.nvmf_subsystem_add_ns(
            storage, nqn=nqn, bdev_name=malloc, nsid=1, uuid=UUID, nguid=UUID.replace("-", "").upper()
        ),
        nvmf.nvmf_subsystem_add_host(storage, nqn=nqn, host=HOST),
        nvmf.nvmf_subsystem_add_listener(storage, nqn=nqn, address=address),
    )
    assert (nsid, storage.trace.rounds) == (1, 1)
    found = await look(storage, nqn)
    assert found == nvmf.Subsystem(
        nqn=nqn,
        subtype=nvmf.NVME_SUBTYPE,
        listen_addresses=(address,),
        allow_any_host=False,
        hosts=(HOST,),
        serial_number="S1",
        model_number="DPU CSI",
        max_namespaces=1,
        min_cntlid=1,
        max_cntlid=65519,
        namespaces=(nvmf.NvmfNamespace(1, malloc, UUID, UUID.replace("-", "").upper()),),
    )
    assert found in await nvmf.nvmf_get_subsystems(storage)
    (seen,) = own_voice.call("nvmf_get_subsystems", {"nqn": nqn})
    assert (seen["hosts"], seen["serial_number"], seen["namespaces"][0]["uuid"]) == ([{"nqn": HOST}], "S1", UUID)
    await nvmf.nvmf_delete_subsystem(storage, nqn=nqn)
    assert await nvmf.find_subsystem(storage, nqn) is None


async def test_what_spdk_s_own_client_made_is_read_the_same(
    storage: SpdkClient, nqn: str, own_voice: JSONRPCClient
) -> None:
    own_voice.call("nvmf_create_subsystem", {"nqn": nqn, "serial_number": "THEIRS", "allow_any_host": True})
    found = await look(storage, nqn)
    assert (found.serial_number, found.allow_any_host, found.hosts) == ("THEIRS", True, ())
    own_voice.call("nvmf_delete_subsystem", {"nqn": nqn})
    assert await nvmf.find_subsystem(storage, nqn) is None


async def test_the_namespace_of_an_lvol_waits_for_the_lvol(storage: SpdkClient, subsystem: str, name: str) -> None:
    """Sent together they start together: the bdev is there when the create is answered, not before."""
    made, added = await asyncio.gather(
        lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=name, size_in_mib=8, thin_provision=True),
        nvmf.nvmf_subsystem_add_ns(storage, nqn=subsystem, bdev_name=f"lvs0/{name}", nsid=1),
        return_exceptions=True,
    )
    assert isinstance(made, str)
    assert isinstance(added, SpdkError)
    assert await nvmf.nvmf_subsystem_add_ns(storage, nqn=subsystem, bdev_name=f"lvs0/{name}", nsid=1) == 1
    namespace = (await look(storage, subsystem)).namespace(1)
    assert namespace is not None
    assert (namespace.bdev_name, namespace.uuid) == (made, made)
    await lvol.bdev_lvol_delete(storage, name=made)  # while exported: the namespace goes with it
    assert (await look(storage, subsystem)).namespaces == ()


async def test_the_discovery_subsystem_is_one_of_them(storage: SpdkClient) -> None:
    (discovery,) = [one for one in await nvmf.nvmf_get_subsystems(storage) if one.subtype != nvmf.NVME_SUBTYPE]
    assert (discovery.max_namespaces, discovery.namespaces, discovery.serial_number) == (0, (), "")


async def test_a_subsystem_that_exists_and_one_that_cannot(storage: SpdkClient, subsystem: str) -> None:
    before = await look(storage, subsystem)
    for nqn, serial in ((subsystem, "OTHER"), ("hello", "S"), (f"{subsystem}x", "s" * 21)):
        with pytest.raises(SpdkError):
            await nvmf.nvmf_create_subsystem(storage, nqn=nqn, serial_number=serial)
    assert await look(storage, subsystem) == before
    assert await nvmf.find_subsystem(storage, "hello") is None
    assert await nvmf.find_subsystem(storage, f"{subsystem}x") is None


async def test_namespaces(storage: SpdkClient, subsystem: str, malloc: str) -> None:
    assert await nvmf.nvmf_subsystem_add_ns(storage, nqn=subsystem, bdev_name=malloc, nsid=3, uuid=UUID) == 3
    before = await look(storage, subsystem)
    for bdev_name, nsid in ((malloc, 3), (malloc, 4), ("nope", 4)):  # id taken, bdev exported already, no such bdev
        with pytest.raises(SpdkError):
            await nvmf.nvmf_subsystem_add_ns(storage, nqn=subsystem, bdev_name=bdev_name, nsid=nsid)
    with pytest.raises(SpdkError):
        await nvmf.nvmf_subsystem_remove_ns(storage, nqn=subsystem, nsid=7)
    assert await look(storage, subsystem) == before
    exported = await bdev.find_bdev(storage, malloc)
    assert exported is not None
    assert exported.claimed
    await nvmf.nvmf_subsystem_remove_ns(storage, nqn=subsystem, nsid=3)
    assert (await look(storage, subsystem)).namespaces == ()


async def test_the_same_nsid_again_in_one_round(storage: SpdkClient, subsystem: str, malloc: str) -> None:
    await nvmf.nvmf_subsystem_add_ns(storage, nqn=subsystem, bdev_name=malloc, nsid=1)
    await asyncio.gather(
        nvmf.nvmf_subsystem_remove_ns(storage, nqn=subsystem, nsid=1),
        nvmf.nvmf_subsystem_add_ns(storage, nqn=subsystem, bdev_name=malloc, nsid=1, uuid=UUID),
    )
    namespace = (await look(storage, subsystem)).namespace(1)
    assert namespace is not None
    assert namespace.uuid == UUID


async def test_hosts(storage: SpdkClient, subsystem: str) -> None:
    await nvmf.nvmf_subsystem_add_host(storage, nqn=subsystem, host=HOST)
    for refused in (
        nvmf.nvmf_subsystem_add_host(storage, nqn=subsystem, host=HOST),
        nvmf.nvmf_subsystem_add_host(storage, nqn=subsystem, host="host1"),
        nvmf.nvmf_subsystem_remove_host(storage, nqn=subsystem, host=OTHER),
        nvmf.nvmf_subsystem_add_host(storage, nqn=f"{subsystem}x", host=HOST),
        nvmf.nvmf_subsystem_remove_host(storage, nqn=f"{subsystem}x", host=HOST),
    ):
        with pytest.raises(SpdkError):
            await refused
    assert (await look(storage, subsystem)).hosts == (HOST,)
    await nvmf.nvmf_subsystem_add_host(storage, nqn=subsystem, host=OTHER)
    assert set((await look(storage, subsystem)).hosts) == {HOST, OTHER}
    await nvmf.nvmf_subsystem_remove_host(storage, nqn=subsystem, host=HOST)
    assert (await look(storage, subsystem)).hosts == (OTHER,)


async def test_listeners(storage: SpdkClient, subsystem: str, address: TransportAddress) -> None:
    await nvmf.nvmf_subsystem_add_listener(storage, nqn=subsystem, address=address)
    for wrong in (address, replace(address, traddr="127.255.0.1x"), replace(address, trtype="RDMA")):
        with pytest.raises(SpdkError):
            await nvmf.nvmf_subsystem_add_listener(storage, nqn=subsystem, address=wrong)
    assert (await look(storage, subsystem)).listen_addresses == (address,)
    await nvmf.nvmf_subsystem_remove_listener(storage, nqn=subsystem, address=address)
    assert (await look(storage, subsystem)).listen_addresses == ()
    with pytest.raises(SpdkError):
        await nvmf.nvmf_subsystem_remove_listener(storage, nqn=subsystem, address=address)


async def test_no_such_subsystem(storage: SpdkClient, nqn: str, address: TransportAddress) -> None:
    for refused in (
        nvmf.nvmf_get_subsystems(storage, nqn=nqn),
        nvmf.nvmf_delete_subsystem(storage, nqn=nqn),
        nvmf.nvmf_subsystem_get_controllers(storage, nqn=nqn),
        nvmf.nvmf_subsystem_add_listener(storage, nqn=nqn, address=address),
        nvmf.nvmf_subsystem_remove_ns(storage, nqn=nqn, nsid=1),
    ):
        with pytest.raises(SpdkError):
            await refused


async def test_transports(storage: SpdkClient) -> None:
    assert await nvmf.nvmf_get_transports(storage) == ("TCP",)
    for trtype in ("TCP", "NOPE"):
        with pytest.raises(SpdkError):
            await nvmf.nvmf_create_transport(storage, trtype=trtype)
    assert await nvmf.nvmf_get_transports(storage) == ("TCP",)
