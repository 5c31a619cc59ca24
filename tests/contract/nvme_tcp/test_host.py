"""Our host alone, at a target of each kind: digests, several queues, identity, events, refusals, the end."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.contract.nvme_tcp.dpu import connect, cut, nothing_changes, until
from tests.contract.nvme_tcp.load import Load
from tests.contract.nvme_tcp.storage_node import HOST, STRANGER, StorageNode
from tests.contract.spdk.spdk_process import KINDS

from dpucsi.nvme_tcp.host import ConnectionLostError
from dpucsi.nvme_tcp.status import CONNECT_INVALID_HOST, CONNECT_INVALID_PARAMETERS, LBA_OUT_OF_RANGE, NvmeError
from dpucsi.spdk import nvmf
from dpucsi.testing.spdk_command import real_spdk

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20


@pytest_asyncio.fixture(loop_scope="session", scope="session", params=KINDS)
async def target(request: pytest.FixtureRequest) -> AsyncIterator[StorageNode]:
    if request.param == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        node = StorageNode(request.param, Path(folder))
        try:
            await node.start()
            yield node
        finally:
            await node.close()


async def test_identity(target: StorageNode) -> None:
    export = await target.export_file(8)
    host = await connect(export.addresses[0], export.nqn, HOST)
    assert list(host.namespaces) == [1]
    namespace = host.namespaces[1]
    assert str(namespace.uuid) == export.uuid
    assert namespace.block_size * namespace.num_blocks == export.size
    assert not namespace.is_read_only
    assert host.serial_number == export.serial_number
    assert host.model_number == "SPDK bdev Controller"
    assert host.max_transfer >= 128 << 10
    assert await target.hosts_connected(export) == [HOST]
    await host.disconnect()

    async def left() -> bool:
        return await target.hosts_connected(export) == []

    await until(left, "the end of the session")


@pytest.mark.parametrize("io_queues", [1, 4])
@pytest.mark.parametrize("digests", [False, True], ids=["plain", "digests"])
async def test_many_writes_at_once_arrive_whole(target: StorageNode, digests: bool, io_queues: int) -> None:
    export = await target.export_file(16)
    host = await connect(export.addresses[0], export.nqn, HOST, digests=digests, io_queues=io_queues)
    data = os.urandom(16 * MIB)
    pieces = range(0, len(data), 64 << 10)
    await asyncio.gather(*(host.write(1, start, data[start : start + (64 << 10)]) for start in pieces))
    await host.flush(1)
    assert await host.read(1, 0, len(data)) == data
    assert export.read(0, len(data)) == data
    load = Load(lambda offset, block: host.write(1, offset, block), export.size)
    load.start()
    await load.more(200)
    await load.end()
    await load.check(lambda offset, length: host.read(1, offset, length))
    await host.disconnect()


async def test_refusals_have_their_status(target: StorageNode) -> None:
    export = await target.export_file(8)
    with pytest.raises(NvmeError) as refused:
        await connect(export.addresses[0], export.nqn, STRANGER)
    assert refused.value.status == CONNECT_INVALID_HOST
    with pytest.raises(NvmeError) as refused:
        await connect(export.addresses[0], f"{export.nqn}-2", HOST)
    assert refused.value.status == CONNECT_INVALID_PARAMETERS
    host = await connect(export.addresses[0], export.nqn, HOST)
    with pytest.raises(NvmeError) as refused:
        await host.read(1, export.size, 4096)
    assert refused.value.status == LBA_OUT_OF_RANGE
    assert not any(await host.read(1, export.size - 4096, 4096))
    await host.disconnect()


async def test_namespaces_are_current(target: StorageNode) -> None:
    export = await target.export_lvol(8)
    told = asyncio.Event()
    host = await connect(export.addresses[0], export.nqn, HOST, on_namespaces=told.set)
    second = str(uuid4())
    await target.add_namespace(export, 9, await target.create_lvol(8), second)

    async def both() -> bool:
        return {nsid: str(one.uuid) for nsid, one in host.namespaces.items()} == {1: export.uuid, 9: second}

    await until(both, "the second namespace")
    await asyncio.wait_for(told.wait(), 5)  # the states of its ANA group are read in between
    await nvmf.nvmf_subsystem_remove_ns(target.spdk, nqn=export.nqn, nsid=9)

    async def alone() -> bool:
        return list(host.namespaces) == [1]

    await until(alone, "the end of the second namespace")
    await host.disconnect()


async def test_a_cut_ends_everything_that_waits_and_is_told_once(target: StorageNode) -> None:
    export = await target.export_file(8)
    losses: list[bool] = []
    host = await connect(export.addresses[0], export.nqn, HOST, io_queues=2, on_lost=lambda: losses.append(True))
    load = Load(lambda offset, block: host.write(1, offset, block), export.size)
    load.start()
    await load.more()
    await nvmf.nvmf_subsystem_remove_host(target.spdk, nqn=export.nqn, host=HOST)
    await cut(target, export)
    await nothing_changes(export)

    async def ended() -> bool:
        return load.failure is not None

    await until(ended, "an error of the load")
    await load.end()
    assert isinstance(load.failure, ConnectionLostError)
    assert losses == [True]
    with pytest.raises(ConnectionLostError):
        await host.read(1, 0, 4096)
