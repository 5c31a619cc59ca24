"""Reads and writes of bdevs, and what is counted of them."""

import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spdk_emulator.replay import Replay

from dpucsi.nvme_tcp.status import ABORT_REQUESTED, INTERNAL_ERROR, UNRECOVERED_READ_ERROR, NvmeError
from spdk_emulator.bdev.aio import aio_bdev
from spdk_emulator.bdev.bdev import NVME, Bdev
from spdk_emulator.bdev.io import BlockIo
from spdk_emulator.bdev.iostat import TICK_RATE
from spdk_emulator.bdev.malloc import MallocBdevs
from spdk_emulator.emulator import Emulator

MIB = 1 << 20


@pytest.fixture(params=["aio", "malloc"])
def bdev(request: pytest.FixtureRequest, tmp_path: Path) -> Bdev:
    if request.param == "malloc":
        return MallocBdevs().create(None, MIB // 512, 512, None)
    file = tmp_path / "aio.img"
    file.write_bytes(bytes(MIB))
    return aio_bdev("a", str(file), 512, None, is_read_only=False, fallocate=True)


async def test_written_bytes_are_read_again(bdev: Bdev) -> None:
    await bdev.io.write(4096, memoryview(b"x" * 8192))
    await bdev.io.flush()
    assert await bdev.io.read(0, 16384) == bytes(4096) + b"x" * 8192 + bytes(4096)
    await bdev.io.unmap(4096, 4096)
    await bdev.io.write_zeroes(11776, 512)
    assert await bdev.io.read(0, 16384) == bytes(8192) + b"x" * 3584 + bytes(4608)


async def test_a_file_that_became_shorter_reads_as_zeroes(tmp_path: Path) -> None:
    file = tmp_path / "aio.img"
    file.write_bytes(b"x" * 8192)
    bdev = aio_bdev("a", str(file), 512, None, is_read_only=False, fallocate=True)
    os.truncate(file, 1024)
    assert await bdev.io.read(0, 8192) == b"x" * 1024 + bytes(7168)


async def test_a_read_only_file_takes_no_write(tmp_path: Path) -> None:
    file = tmp_path / "aio.img"
    file.write_bytes(b"x" * 8192)
    bdev = aio_bdev("a", str(file), 512, None, is_read_only=True, fallocate=False)
    with pytest.raises(NvmeError) as refused:
        await bdev.io.write(0, bytes(512))
    assert refused.value.status == INTERNAL_ERROR
    assert bdev.counted.stat.errors == {"aio_error": 1}
    assert await bdev.io.read(0, 512) == b"x" * 512


class Failing:
    """Everything ends with this error."""

    def __init__(self, error: NvmeError) -> None:
        self._error = error

    async def read(self, *_: Any) -> bytes:
        raise self._error

    async def flush(self) -> None:
        raise self._error

    write = unmap = write_zeroes = read


def over(io: BlockIo) -> Bdev:
    return Bdev("n1", [], "11111111-2222-4333-8444-555555555555", NVME, 512, 2048, io, dict)


async def test_failures_are_counted_by_spdks_name() -> None:
    bdev = over(Failing(NvmeError(UNRECOVERED_READ_ERROR)))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(NvmeError):
            await bdev.io.read(0, 512)
    aborted = over(Failing(NvmeError(ABORT_REQUESTED)))  # type: ignore[arg-type]
    with pytest.raises(NvmeError):
        await aborted.io.flush()
    figures = bdev.counted.stat.describe()
    assert figures["io_error"] == {"nvme_error": 2}
    assert aborted.counted.stat.describe()["io_error"] == {"aborted": 1}
    assert {figures[name] for name in figures if name != "io_error"} == {0}


async def figures(replay: Replay, **params: Any) -> dict[str, Any]:
    answer = await replay.call("storage", "bdev_get_iostat", {"names": ["m"], **params})
    (found,) = answer["result"]["bdevs"]
    return dict(found)


async def test_iostat(replay: Replay, emulators: dict[str, Emulator]) -> None:
    await replay.call("storage", "bdev_malloc_create", {"name": "m", "num_blocks": 2048, "block_size": 512})
    bdev = emulators["storage"].bdevs.find("m")
    assert bdev is not None
    for length in (512, 4096):
        await bdev.io.read(0, length)
    await bdev.io.write(0, bytes(1024))
    await bdev.io.unmap(0, 65536)
    await bdev.io.write_zeroes(0, 2048)
    await bdev.io.flush()
    found = await figures(replay, reset_mode="maxmin")
    assert (found["bytes_read"], found["num_read_ops"]) == (4608, 2)
    assert (found["bytes_written"], found["num_write_ops"]) == (1024, 1)
    assert (found["bytes_unmapped"], found["num_unmap_ops"]) == (65536, 1)
    assert (found["bytes_copied"], found["num_copy_ops"]) == (0, 0)
    assert 0 < found["min_read_latency_ticks"] <= found["max_read_latency_ticks"] < found["read_latency_ticks"]
    assert found["read_latency_ticks"] < 10 * TICK_RATE
    assert found["write_latency_ticks"] == found["max_write_latency_ticks"] == found["min_write_latency_ticks"]
    assert "driver_specific" not in found
    found = await figures(replay, reset_mode="all")
    assert found["num_read_ops"] == 2
    assert found["max_read_latency_ticks"] == found["min_read_latency_ticks"] == 0
    found = await figures(replay)
    assert {value for name, value in found.items() if name not in ("name", "io_error")} == {0}


async def test_iostat_is_reset(replay: Replay, emulators: dict[str, Emulator]) -> None:
    """As recorded: `names` in one method, `name` in the other."""
    await replay.call("storage", "bdev_malloc_create", {"name": "m", "num_blocks": 2048, "block_size": 512})
    bdev = emulators["storage"].bdevs.find("m")
    assert bdev is not None
    await bdev.io.read(0, 512)
    bdev.counted.stat.errors["failed"] = 1
    missing = {"error": {"code": -19, "message": "No such device"}}
    assert await replay.call("storage", "bdev_reset_iostat", {"name": "nope"}) == missing
    assert await replay.call("storage", "bdev_reset_iostat", {"name": "m", "mode": "none"}) == {"result": True}
    assert (await figures(replay))["num_read_ops"] == 1
    assert await replay.call("storage", "bdev_reset_iostat", {"name": "m", "mode": "error"}) == {"result": True}
    found = await figures(replay)
    assert (found["num_read_ops"], found["io_error"]) == (1, {})
    assert await replay.call("storage", "bdev_reset_iostat", {}) == {"result": True}
    assert (await figures(replay))["num_read_ops"] == 0
    spoilt = {"error": {"code": -32603, "message": "spdk_json_decode_object failed"}}
    assert await replay.call("storage", "bdev_get_iostat", {"names": ["m"], "reset_mode": "bad"}) == spoilt
    several = {"error": {"code": -22, "message": "Invalid argument"}}
    assert await replay.call("storage", "bdev_get_iostat", {"per_channel": True}) == several
