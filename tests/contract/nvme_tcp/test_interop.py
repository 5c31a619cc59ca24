"""One volume between an initiator and a target, whoever they are: identity, bytes, changes, cuts, kills."""

import os
import random
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from tests.contract.nvme_tcp.dpu import Dpu, cut, nothing_changes, until
from tests.contract.nvme_tcp.load import Load
from tests.contract.nvme_tcp.storage_node import HOST, StorageNode

from dpucsi.nvme_tcp.status import NvmeError
from dpucsi.spdk import lvol, nvmf

pytestmark = pytest.mark.asyncio(loop_scope="session")

KIB, MIB = 1 << 10, 1 << 20


async def test_the_initiator_shows_the_identity_that_the_target_gave(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    async with dpu.attached(export) as disk:
        seen = await dpu.bdev(disk.bdev_name)
        assert seen is not None
        assert (seen.uuid, seen.size_bytes, seen.block_size) == (export.uuid, 8 * MIB, 4096)
        assert disk.bdev_name == f"{disk.name}n1"
        assert await storage.hosts_connected(export) == [HOST]


@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
async def test_every_size_arrives_and_comes_back(dpu: Dpu, storage: StorageNode, digests: bool) -> None:
    export = await storage.export_file(8)
    shadow = bytearray(8 * MIB)
    # In a capsule, just beyond it, one transfer of the target, several, and more than one command may have.
    sizes = [4 * KIB, 8 * KIB, 12 * KIB, 128 * KIB, 132 * KIB, 256 * KIB, MIB, 3 * MIB]
    chance = random.Random(7)
    async with dpu.attached(export, digests=digests) as disk:
        for size in sizes * 2:
            offset = chance.randrange(0, 8 * MIB - size + 1, 4 * KIB)
            data = os.urandom(size)
            await disk.write(offset, data)
            shadow[offset : offset + size] = data
            assert await disk.read(offset, size) == data
        await disk.host.flush(1)
        assert await disk.read(0, 8 * MIB) == shadow
        assert export.read(0, 8 * MIB) == shadow


async def test_zeroes_and_discards_take_effect_where_they_were_asked_for(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    async with dpu.attached(export) as disk:
        await disk.write(0, b"x" * (8 * MIB))
        await disk.host.write_zeroes(1, MIB, 2 * MIB)
        await disk.host.unmap(1, 4 * MIB, 2 * MIB)
        kept = [(0, MIB), (3 * MIB, MIB), (6 * MIB, 2 * MIB)]
        for offset, length in kept:
            assert await disk.read(offset, length) == b"x" * length
        assert not any(await disk.read(MIB, 2 * MIB))
        assert not any(await disk.read(4 * MIB, 2 * MIB))


async def test_what_the_storage_holds_is_read_again_and_not_remembered(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    async with dpu.attached(export) as disk:
        assert not any(await disk.read(0, 64 * KIB))
        assert export.file is not None
        with export.file.open("r+b") as file:
            file.write(b"y" * (64 * KIB))
        assert await disk.read(0, 64 * KIB) == b"y" * (64 * KIB)


async def test_a_volume_grows_on_the_connected_side(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_lvol(16)
    async with dpu.attached(export) as disk:
        await disk.write(15 * MIB, b"a" * MIB)
        await lvol.bdev_lvol_resize(storage.spdk, name=export.bdev_name, size_in_mib=32)

        async def grown() -> bool:
            seen = await dpu.bdev(disk.bdev_name)
            return seen is not None and seen.size_bytes == 32 * MIB

        await until(grown, "the DPU's larger bdev")

        async def passed_on() -> bool:
            namespace = disk.host.namespaces[1]
            return namespace.num_blocks * namespace.block_size == 32 * MIB

        await until(passed_on, "the DPU's own host seeing it")
        await disk.write(31 * MIB, b"b" * MIB)
        assert await disk.read(15 * MIB, MIB) == b"a" * MIB
        assert await disk.read(31 * MIB, MIB) == b"b" * MIB


async def test_a_namespace_comes_and_goes_on_the_connected_side(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_lvol(8)
    second = str(uuid4())
    async with dpu.attached(export) as disk:
        await storage.add_namespace(export, 3, await storage.create_lvol(8), second)

        async def there() -> bool:
            seen = await dpu.bdev(f"{disk.name}n3")
            return seen is not None and seen.uuid == second

        await until(there, "the second namespace's bdev")
        await nvmf.nvmf_subsystem_remove_ns(storage.spdk, nqn=export.nqn, nsid=3)

        async def gone() -> bool:
            return await dpu.bdev(f"{disk.name}n3") is None

        await until(gone, "the end of the second namespace's bdev")
        await disk.write(0, b"z" * MIB)


async def test_the_fence_holds_under_load_and_lets_in_again(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    async with dpu.attached(export, fast_io_fail_timeout_sec=1) as disk:
        load = Load(disk.write, 8 * MIB)
        load.start()
        await load.more()
        await nvmf.nvmf_subsystem_remove_host(storage.spdk, nqn=export.nqn, host=HOST)
        await cut(storage, export)
        left = export.digest()
        await nothing_changes(export)

        async def failed() -> bool:
            return load.failure is not None

        await until(failed, "an error of the load")
        assert isinstance(load.failure, NvmeError)
        await load.end()
        assert await dpu.path_states(disk.name) != ["enabled"]
        assert export.digest() == left
        await nvmf.nvmf_subsystem_add_host(storage.spdk, nqn=export.nqn, host=HOST)
        await enabled(dpu, disk.name, 1)
        await load.check(disk.read)
        await disk.write(0, b"w" * MIB)
        assert export.read(0, MIB) == b"w" * MIB


async def test_io_goes_on_over_the_path_that_is_left(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_file(8, listeners=2)
    async with dpu.attached(export) as disk:
        await dpu.attach(export, disk.name, path=1)
        load = Load(disk.write, 8 * MIB)
        load.start()
        await load.more()
        await nvmf.nvmf_subsystem_remove_listener(storage.spdk, nqn=export.nqn, address=export.addresses[0])
        await load.more()
        await nvmf.nvmf_subsystem_add_listener(storage.spdk, nqn=export.nqn, address=export.addresses[0])
        await enabled(dpu, disk.name, 2)
        await nvmf.nvmf_subsystem_remove_listener(storage.spdk, nqn=export.nqn, address=export.addresses[1])
        await load.more()
        await load.end()
        await load.check(disk.read)


async def test_io_waits_for_a_killed_target_and_nothing_is_lost(dpu: Dpu, storage: StorageNode) -> None:
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        node = StorageNode(storage.process.kind, Path(folder))
        await node.start()
        try:
            export = await node.export_file(8)
            async with dpu.attached(export) as disk:
                load = Load(disk.write, 8 * MIB)
                load.start()
                await load.more()
                node.process.kill()

                async def waiting() -> bool:
                    return await dpu.path_states(disk.name) != ["enabled"]

                await until(waiting, "the loss of the path")
                await node.start()
                await node.reopen(export)
                await node.show(export)
                await load.more()
                await load.end()
                await load.check(disk.read)
        finally:
            await node.close()


async def test_a_killed_initiator_leaves_no_session(dpu: Dpu, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        doomed = Dpu(dpu.process.kind, Path(folder))
        await doomed.start()
        try:
            await doomed.attach(export, "doomed")
            assert await storage.hosts_connected(export) == [HOST]
            doomed.process.kill()

            async def gone() -> bool:
                return await storage.hosts_connected(export) == []

            await until(gone, "the end of the dead initiator's session")
        finally:
            await doomed.close()


async def enabled(dpu: Dpu, name: str, paths: int) -> None:
    """Waits until so many paths work."""

    async def all_of_them() -> bool:
        return await dpu.path_states(name) == ["enabled"] * paths

    await until(all_of_them, f"{paths} enabled paths")
