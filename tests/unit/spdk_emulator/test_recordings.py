"""The answers of the recorded SPDK, call by call."""

from tests.unit.spdk_emulator.replay import Replay, recorded


async def test_one_volume_from_store_to_host_and_back(replay: Replay) -> None:
    assert await replay.differences(recorded("one-volume")) == []


async def test_bdevs(replay: Replay) -> None:
    assert await replay.differences(recorded("bdevs")) == []


async def test_subsystems(replay: Replay) -> None:
    for number in range(10):
        params = {"name": f"b{number}", "num_blocks": 1024, "block_size": 4096}
        if number == 2:
            params["uuid"] = "cbbf13c4-6cd5-4bd1-b5af-30775e0ed638"
        await replay.call("storage", "bdev_malloc_create", params)
    await replay.call("storage", "nvmf_create_transport", {"trtype": "TCP"})
    await replay.call("storage", "nvmf_create_subsystem", {"nqn": "nqn.2024-01.io.example:n2", "serial_number": "S2"})
    assert await replay.differences(recorded("subsystems")) == []


async def test_attach_refused(replay: Replay) -> None:
    assert await replay.differences(recorded("attach-refused")) == []
