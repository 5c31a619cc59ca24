"""Snapshots, clones and a full store, call by call as recorded."""

from pathlib import Path

import pytest
from tests.unit.spdk_emulator.replay import Replay, recorded

from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError
from spdk_emulator.emulator import Emulator

MIB = 1 << 20


async def make_store(replay: Replay, file: Path, size_mib: int) -> None:
    with file.open("wb") as image:
        image.truncate(size_mib * MIB)
    for method, params in (
        ("bdev_aio_create", {"name": "aio0", "filename": str(file), "block_size": 4096}),
        ("bdev_lvol_create_lvstore", {"bdev_name": "aio0", "lvs_name": "lvs0", "cluster_sz": MIB}),
    ):
        assert "result" in await replay.call("storage", method, params)


async def test_snapshots(replay: Replay) -> None:
    assert await replay.differences(recorded("snapshots")) == []


async def test_clones(replay: Replay, tmp_path: Path) -> None:
    await make_store(replay, tmp_path / "clones.img", 512)
    assert await replay.differences(recorded("clones")) == []


async def test_a_full_store(replay: Replay, emulators: dict[str, Emulator], tmp_path: Path) -> None:
    """Recorded at the initiator: sct 0 sc 0x06 dnr 0 for a new cluster; rewrites and reads go on."""
    await make_store(replay, tmp_path / "full.img", 511)
    for name, size, is_thin in (("fill", 500, False), ("t", 16, True)):
        params = {"lvol_name": name, "size_in_mib": size, "thin_provision": is_thin, "lvs_name": "lvs0"}
        assert "result" in await replay.call("storage", "bdev_lvol_create", params)
    lvol = emulators["storage"].bdevs.find("lvs0/t")
    assert lvol is not None
    for cluster in range(8):
        await lvol.io.write(cluster * MIB, bytes([1 + cluster]) * 4096)
    with pytest.raises(NvmeError) as refused:
        await lvol.io.write(8 * MIB, b"x" * 4096)
    assert (refused.value.status, refused.value.dnr) == (INTERNAL_ERROR, False)
    await lvol.io.write(0, b"again" + bytes(507))
    assert await lvol.io.read(0, 512) == b"again" + bytes(507)
    assert await lvol.io.read(7 * MIB, 2 * MIB) == b"\x08" * 4096 + bytes(2 * MIB - 4096)
    *calls, end = recorded("full-store")
    assert await replay.differences(calls) == []
    await lvol.io.write(MIB - 512, bytes(1024))
    assert await replay.differences([end]) == []
