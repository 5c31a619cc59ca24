"""lvol stores, lvols and the bdevs under them."""

import pytest
from spdk.rpc.client import JSONRPCClient
from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi.spdk import SpdkClient, SpdkError, bdev, lvol


async def make_lvol(storage: SpdkClient, name: str, mib: int = 64) -> str:
    return await lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=name, size_in_mib=mib, thin_provision=True)


async def test_the_store(storage: SpdkClient) -> None:
    (store,) = await lvol.bdev_lvol_get_lvstores(storage)
    assert (store,) == await lvol.bdev_lvol_get_lvstores(storage, lvs_name="lvs0")
    assert (store.name, store.base_bdev, store.cluster_size) == ("lvs0", "disk0", 1 << 20)
    assert 0 < store.free_bytes <= store.size_bytes < 1 << 30
    with pytest.raises(SpdkError):
        await lvol.bdev_lvol_get_lvstores(storage, lvs_name="nope")


async def test_a_thin_lvol_and_back(storage: SpdkClient, name: str, own_voice: JSONRPCClient) -> None:
    (store,) = await lvol.bdev_lvol_get_lvstores(storage)
    uuid = await make_lvol(storage, name)
    by_alias, by_uuid = await bdev.find_bdev(storage, f"lvs0/{name}"), await bdev.find_bdev(storage, uuid)
    assert by_alias is not None
    assert by_alias == by_uuid
    assert (by_alias.name, by_alias.uuid, by_alias.aliases) == (uuid, uuid, (f"lvs0/{name}",))
    assert (by_alias.size_bytes, by_alias.block_size, by_alias.claimed) == (64 << 20, 4096, False)
    assert by_alias.lvol == lvol.LvolPart(store.uuid, True, 0, False, False, "")
    (listed,) = [one for one in await lvol.bdev_lvol_get_lvols(storage, lvs_name="lvs0") if one.name == name]
    assert listed == lvol.Lvol(uuid, name, f"lvs0/{name}", "lvs0", True, False, False, 0)
    (seen,) = own_voice.call("bdev_get_bdevs", {"name": f"lvs0/{name}"})
    assert (seen["uuid"], seen["num_blocks"] * seen["block_size"]) == (uuid, 64 << 20)

    await lvol.bdev_lvol_delete(storage, name=f"lvs0/{name}")
    assert await bdev.find_bdev(storage, uuid) is None
    with pytest.raises(SpdkError):
        await lvol.bdev_lvol_delete(storage, name=f"lvs0/{name}")


async def test_a_name_that_is_taken_changes_nothing(storage: SpdkClient, name: str) -> None:
    uuid = await make_lvol(storage, name)
    with pytest.raises(SpdkError):
        await make_lvol(storage, name, mib=128)
    found = await bdev.find_bdev(storage, f"lvs0/{name}")
    assert found is not None
    assert (found.uuid, found.size_bytes) == (uuid, 64 << 20)
    await lvol.bdev_lvol_delete(storage, name=uuid)


async def test_a_thick_lvol_beyond_the_store_is_not_made(storage: SpdkClient, name: str) -> None:
    (before,) = await lvol.bdev_lvol_get_lvstores(storage)
    with pytest.raises(SpdkError):
        await lvol.bdev_lvol_create(storage, lvs_name="lvs0", lvol_name=name, size_in_mib=1 << 20, thin_provision=False)
    assert await bdev.find_bdev(storage, f"lvs0/{name}") is None
    assert await lvol.bdev_lvol_get_lvstores(storage) == (before,)


async def test_a_thick_lvol_takes_its_clusters(storage: SpdkClient, name: str) -> None:
    (before,) = await lvol.bdev_lvol_get_lvstores(storage)
    uuid = await lvol.bdev_lvol_create(
        storage, lvs_name="lvs0", lvol_name=name, size_in_mib=16, thin_provision=False, clear_method="none"
    )
    (during,) = await lvol.bdev_lvol_get_lvstores(storage)
    assert before.free_clusters - during.free_clusters == 16
    await lvol.bdev_lvol_delete(storage, name=uuid)
    assert await lvol.bdev_lvol_get_lvstores(storage) == (before,)


async def test_no_such_store(storage: SpdkClient, name: str) -> None:
    with pytest.raises(SpdkError):
        await lvol.bdev_lvol_create(storage, lvs_name="nope", lvol_name=name, size_in_mib=1, thin_provision=True)
    with pytest.raises(SpdkError):
        await lvol.bdev_lvol_get_lvols(storage, lvs_name="nope")


async def test_names_have_63_characters(storage: SpdkClient) -> None:
    uuid = await make_lvol(storage, "y" * 63)
    await lvol.bdev_lvol_delete(storage, name=uuid)
    with pytest.raises(SpdkError):
        await make_lvol(storage, "y" * 64)


async def test_resize_does_what_it_is_told(storage: SpdkClient, name: str) -> None:
    uuid = await make_lvol(storage, name)
    for mib in (128, 96):  # it shrinks without a word: whoever calls it looks before
        await lvol.bdev_lvol_resize(storage, name=uuid, size_in_mib=mib)
        found = await bdev.find_bdev(storage, uuid)
        assert found is not None
        assert found.size_bytes == mib << 20
    await lvol.bdev_lvol_delete(storage, name=uuid)
    with pytest.raises(SpdkError):
        await lvol.bdev_lvol_resize(storage, name=uuid, size_in_mib=1)


async def test_aio_bdevs_refuse_what_is_there_or_is_not(
    storage: SpdkClient, storage_process: SpdkProcess, name: str
) -> None:
    with pytest.raises(SpdkError):
        await bdev.bdev_aio_create(storage, name=name, filename="/nonexistent", block_size=4096)
    image = str(storage_process.image(name, 8))
    assert await bdev.bdev_aio_create(storage, name=name, filename=image, block_size=4096) == name
    with pytest.raises(SpdkError):
        await bdev.bdev_aio_create(storage, name=name, filename=image, block_size=4096)
    found = await bdev.find_bdev(storage, name)
    assert found is not None
    assert (found.size_bytes, found.lvol) == (8 << 20, None)
    await bdev.bdev_aio_delete(storage, name=name)
    assert await bdev.find_bdev(storage, name) is None
    with pytest.raises(SpdkError):
        await bdev.bdev_aio_delete(storage, name=name)


async def test_a_store_needs_a_bdev_that_is_free(storage: SpdkClient) -> None:
    for bdev_name in ("nope", "disk0"):
        with pytest.raises(SpdkError):
            await lvol.bdev_lvol_create_lvstore(storage, bdev_name=bdev_name, lvs_name="lvs1")
    assert [store.name for store in await lvol.bdev_lvol_get_lvstores(storage)] == ["lvs0"]


async def test_malloc_bdevs(storage: SpdkClient, name: str) -> None:
    uuid = "eeeeeeee-0000-4000-8000-000000000001"
    assert await bdev.bdev_malloc_create(storage, name=name, num_blocks=2048, block_size=512, uuid=uuid) == name
    found = await bdev.find_bdev(storage, uuid)
    assert found is not None
    assert (found.name, found.uuid, found.size_bytes) == (name, uuid, 1 << 20)
    await bdev.bdev_malloc_delete(storage, name=name)
    with pytest.raises(SpdkError):
        await bdev.bdev_malloc_delete(storage, name=name)


async def test_iostat(storage: SpdkClient, name: str) -> None:
    await bdev.bdev_malloc_create(storage, name=name, num_blocks=2048, block_size=512)
    (figures,) = await bdev.bdev_get_iostat(storage, names=(name,))
    assert (figures.name, figures.bytes_written, figures.num_write_ops, figures.write_latency_s) == (name, 0, 0, 0.0)
    assert name in {one.name for one in await bdev.bdev_get_iostat(storage)}
    await bdev.bdev_malloc_delete(storage, name=name)
    with pytest.raises(SpdkError):
        await bdev.bdev_get_iostat(storage, names=(name,))
