"""What random changes one after the other do not show: things at the same time, and what others write."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.spdk_emulator.stores import BLOCK, CLUSTER, Storage, both

from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError
from spdk_emulator.bdev import lvol_changes, lvol_copies
from spdk_emulator.bdev.bdev import EXCLUSIVE_WRITE
from spdk_emulator.bdev.iostat import Operation
from spdk_emulator.rpc.errors import RpcError


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    made = Storage(tmp_path)
    yield made
    made.close()


async def test_a_write_that_waits_while_a_snapshot_is_taken_is_not_in_it(storage: Storage) -> None:
    await storage.create("v", 2)
    await storage.write("v", 0, b"old" * 512)
    entered, released = asyncio.Event(), asyncio.Event()

    async def gate(_: Operation, __: int, ___: int) -> None:
        entered.set()
        await released.wait()

    storage.bdev("v").counted.gate = gate
    writing = asyncio.create_task(storage.write("v", 0, b"new" * 512))
    await entered.wait()
    await storage.run(lvol_copies.snapshot, "v", "s")
    released.set()
    await writing
    assert (await storage.read("s"))[:1536] == b"old" * 512
    assert (await storage.read("v"))[:1536] == b"new" * 512


async def test_writes_go_on_while_snapshots_are_taken(storage: Storage) -> None:
    """A snapshot has everything that was answered before it was asked for, and nothing that began after its answer."""
    await storage.create("v", 4)
    written = 0
    is_over = False

    async def write() -> None:
        nonlocal written
        while not is_over:
            number = written + 1
            await storage.write("v", number % (4 * CLUSTER // BLOCK) * BLOCK, number.to_bytes(4, "little") * 128)
            written = number
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    for count in range(6):
        before = written
        await storage.run(lvol_copies.snapshot, "v", f"s{count}")
        after = written + 1  # the one that may be on its way
        data = await storage.read(f"s{count}")
        blocks = [int.from_bytes(data[start : start + 4], "little") for start in range(0, len(data), BLOCK)]
        assert before <= max(blocks) <= after
    is_over = True
    await writer


async def test_two_writes_into_one_new_cluster_of_a_clone(storage: Storage) -> None:
    await storage.create("v", 1)
    await storage.write("v", 0, b"p" * CLUSTER)
    await storage.run(lvol_copies.snapshot, "v", "s")
    await asyncio.gather(*(storage.write("v", number * BLOCK, bytes([number]) * BLOCK) for number in range(8)))
    expected = b"".join(bytes([number]) * BLOCK for number in range(8)) + b"p" * (CLUSTER - 8 * BLOCK)
    assert await storage.read("v") == expected
    assert await storage.read("s") == b"p" * CLUSTER
    assert storage.lvol("v").blob.allocated == 1


async def test_of_several_snapshots_at_once_one_is_taken(storage: Storage) -> None:
    await storage.create("v", 1)
    first = storage.run(lvol_copies.snapshot, "v", "s1")
    answers = await both(first, *(storage.run(lvol_copies.snapshot, "v", f"s{number}") for number in range(2, 5)))
    assert isinstance(answers[0], str)
    assert [str(answer) for answer in answers[1:]] == ["Device or resource busy"] * 3
    assert sorted(lvol.name for lvol in storage.store.lvols.values()) == ["s1", "v"]


async def test_what_hangs_on_a_busy_lvol_is_not_deleted(storage: Storage) -> None:
    await storage.create("v", 2)
    await storage.run(lvol_copies.snapshot, "v", "s1")
    await storage.run(lvol_copies.snapshot, "v", "s2")
    answers = await both(
        storage.run(lvol_copies.decouple, "v"),
        storage.run(lvol_changes.delete, "s1"),
        storage.run(lvol_changes.delete, "s2"),
    )
    assert answers[0] is True
    assert [str(answer) for answer in answers[1:]] == ["Device or resource busy"] * 2
    assert storage.lvol("v").parent is storage.lvol("s1")


async def test_a_cluster_unmapped_during_an_inflation_stays(storage: Storage) -> None:
    await storage.create("v", 4)
    await storage.write("v", 0, b"x" * 2 * CLUSTER)
    inflating = asyncio.ensure_future(storage.run(lvol_copies.inflate, "v"))
    for _ in range(100):  # turns of the loop until the first cluster is copied
        if storage.lvol("v").blob.allocated == 2:
            await asyncio.sleep(0)
    await storage.bdev("v").io.unmap(0, CLUSTER)
    assert not inflating.done()
    await inflating
    assert storage.lvol("v").blob.allocated == 4
    assert await storage.read("v") == bytes(CLUSTER) + b"x" * CLUSTER + bytes(2 * CLUSTER)


async def test_what_was_written_straight_into_the_file_is_kept(storage: Storage) -> None:
    """By mkfs, say: it is seen at once, and still there when the lvol goes on as a clone that loses its snapshot."""
    await storage.create("v", 3)
    file = storage.store.files.bytes_of(storage.lvol("v").uuid)
    with file.open("r+b") as foreign:
        foreign.seek(CLUSTER)
        foreign.write(b"superblock")
    expected = bytes(CLUSTER) + b"superblock" + bytes(2 * CLUSTER - 10)
    assert await storage.read("v") == expected
    await storage.run(lvol_copies.snapshot, "v", "s")
    assert storage.lvol("s").blob.allocated == 1
    await storage.run(lvol_changes.delete, "s")
    assert await storage.read("v") == expected


async def test_a_thin_lvol_has_one_file_until_it_is_written(storage: Storage) -> None:
    await storage.create("v", 3)
    name = storage.lvol("v").uuid
    assert {file.name for file in storage.store.files.folder.iterdir()} == {"store.json", name}
    await storage.write("v", 0, bytes(BLOCK))
    assert {file.name for file in storage.store.files.folder.iterdir()} == {"store.json", name, f"{name}.map"}


async def test_an_lvol_in_use_is_shrunk_all_the_same(storage: Storage) -> None:
    """As recorded: "busy", but its end is gone, and the bdev does not know it."""
    await storage.create("v", 4)
    await storage.write("v", 3 * CLUSTER, b"x" * BLOCK)
    storage.bdev("v").claim = EXCLUSIVE_WRITE
    with pytest.raises(RpcError, match="Device or resource busy"):
        await storage.run(lvol_changes.resize, "v", 2 * CLUSTER)
    assert storage.bdev("v").size == 4 * CLUSTER
    with pytest.raises(NvmeError) as refused:
        await storage.write("v", 3 * CLUSTER, b"x" * BLOCK)
    assert refused.value.status == INTERNAL_ERROR
    await storage.run(lvol_changes.resize, "v", 4 * CLUSTER)
    assert await storage.read("v") == bytes(4 * CLUSTER)


async def test_a_resize_is_told(storage: Storage) -> None:
    await storage.create("v", 1)
    await storage.run(lvol_changes.resize, "v", 3 * CLUSTER)
    last = storage.notifications.since(0, 100)[-1]
    assert isinstance(last, dict)
    assert (last["type"], last["ctx"]) == ("bdev_resize", storage.lvol("v").uuid)


async def test_a_change_that_cannot_be_saved_did_not_happen(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    await storage.create("v", 2)
    await storage.write("v", 0, b"x" * BLOCK)
    files = set(storage.store.files.folder.iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        for change in (
            storage.run(lvol_copies.snapshot, "v", "s"),
            storage.run(lvol_changes.resize, "v", CLUSTER),
            storage.run(lvol_changes.resize, "v", 4 * CLUSTER),
            storage.run(lvol_changes.set_read_only, "v"),
            storage.create("w", 1),
        ):
            with pytest.raises(RpcError, match="No space left on device"):
                await change
    (storage.store.files.folder / "store.json.new").unlink()
    assert set(storage.store.files.folder.iterdir()) == files
    assert list(storage.store.lvols) == [storage.lvol("v").uuid]
    await storage.write("v", CLUSTER, b"y" * BLOCK)
    storage.close()
    storage.open()
    assert await storage.read("v") == b"x" * BLOCK + bytes(CLUSTER - BLOCK) + b"y" * BLOCK + bytes(CLUSTER - BLOCK)


async def test_io_of_a_deleted_lvol_fails(storage: Storage) -> None:
    await storage.create("v", 1)
    bdev = storage.bdev("v")
    await storage.run(lvol_changes.delete, "v")
    with pytest.raises(NvmeError):
        await bdev.io.read(0, BLOCK)
    assert storage.store.space.free == storage.store.total_clusters
