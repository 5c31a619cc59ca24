"""A storage node and a DPU over TCP: the allow-list, the fence, kills, and what comes back by itself."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spdk_emulator.processes import Process, running, until

from dpucsi.spdk.errors import SpdkError
from dpucsi.testing.ports import free_port

SUBNQN = "nqn.2024-01.io.example:vol"
HOSTNQN = "nqn.2024-01.io.example:host"
STORE = {"lvs_name": "lvs0"}


@pytest.fixture
def address() -> dict[str, str]:
    return {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(free_port())}


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Process]:
    disk = tmp_path / "disk0.img"
    with disk.open("wb") as file:
        file.truncate(256 << 20)
    params = {"name": "disk0", "filename": str(disk), "block_size": 4096}
    calls = [
        {"method": "bdev_aio_create", "params": params},
        {"method": "nvmf_create_transport", "params": {"trtype": "TCP"}},
    ]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": calls}]}))
    async with running(tmp_path, "storage", "--json", str(config)) as process:
        await process.call("bdev_lvol_create_lvstore", bdev_name="disk0", cluster_sz=1 << 20, **STORE)
        await process.call("bdev_lvol_create", lvol_name="vol", size_in_mib=16, thin_provision=True, **STORE)
        yield process


@pytest.fixture
async def dpu(tmp_path: Path) -> AsyncIterator[Process]:
    async with running(tmp_path, "dpu") as process:
        yield process


async def export(storage: Process, address: dict[str, str]) -> None:
    await storage.call("nvmf_create_subsystem", nqn=SUBNQN)
    await storage.call("nvmf_subsystem_add_ns", nqn=SUBNQN, namespace={"bdev_name": "lvs0/vol"})
    await storage.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=HOSTNQN)
    await storage.call("nvmf_subsystem_add_listener", nqn=SUBNQN, listen_address=address)


async def attach(dpu: Process, address: dict[str, str], **more: Any) -> Any:
    params = {"hostnqn": HOSTNQN, "ctrlr_loss_timeout_sec": -1, "reconnect_delay_sec": 1} | more
    return await dpu.call("bdev_nvme_attach_controller", name="r", subnqn=SUBNQN, **address, **params)


async def wait_state(dpu: Process, state: str) -> None:
    async def look() -> bool | None:
        (controller,) = await dpu.call("bdev_nvme_get_controllers", name="r")
        return True if controller["ctrlrs"][0]["state"] == state else None

    await until(look, f"path {state}")


async def test_only_a_host_on_the_list_gets_in(storage: Process, dpu: Process, address: dict[str, str]) -> None:
    await export(storage, address)
    with pytest.raises(SpdkError):
        await attach(dpu, address, hostnqn="nqn.2024-01.io.example:stranger")
    assert await attach(dpu, address) == ["rn1"]
    (session,) = await storage.call("nvmf_subsystem_get_controllers", nqn=SUBNQN)
    assert session["hostnqn"] == HOSTNQN


async def test_the_fence_cuts_at_once_and_letting_in_again_reconnects(
    storage: Process, dpu: Process, address: dict[str, str]
) -> None:
    await export(storage, address)
    await attach(dpu, address)
    await storage.call("nvmf_subsystem_remove_host", nqn=SUBNQN, host=HOSTNQN)
    assert await storage.call("nvmf_subsystem_get_controllers", nqn=SUBNQN) == []
    await wait_state(dpu, "reconnect_is_delayed")
    assert [bdev["name"] for bdev in await dpu.call("bdev_get_bdevs")] == ["rn1"]
    await storage.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=HOSTNQN)
    await wait_state(dpu, "enabled")


async def test_what_the_target_changes_shows_on_the_host(
    storage: Process, dpu: Process, address: dict[str, str]
) -> None:
    await export(storage, address)
    await attach(dpu, address)
    await storage.call("bdev_lvol_resize", name="lvs0/vol", size_in_mib=32)

    async def blocks() -> bool | None:
        (bdev,) = await dpu.call("bdev_get_bdevs")
        return True if bdev["num_blocks"] == 8192 else None

    await until(blocks, "the new size")
    await storage.call("bdev_lvol_delete", name="lvs0/vol")

    async def gone() -> bool | None:
        return True if await dpu.call("bdev_get_bdevs") == [] else None

    await until(gone, "the bdev's end")
    events = await dpu.call("notify_get_notifications")
    assert [event["type"] for event in events] == ["bdev_register", "bdev_resize", "bdev_unregister"]


async def test_a_killed_storage_node_keeps_its_lvols_only(
    storage: Process, dpu: Process, address: dict[str, str]
) -> None:
    await export(storage, address)
    await attach(dpu, address)
    before = await storage.call("bdev_lvol_get_lvols")
    await storage.end(signal.SIGKILL)
    await wait_state(dpu, "reconnect_is_delayed")
    await storage.start()
    assert await storage.call("bdev_lvol_get_lvols") == before
    assert len(await storage.call("nvmf_get_subsystems")) == 1
    await export(storage, address)
    await wait_state(dpu, "enabled")


async def test_a_killed_dpu_is_noticed(storage: Process, dpu: Process, address: dict[str, str]) -> None:
    await export(storage, address)
    await attach(dpu, address)
    await dpu.end(signal.SIGKILL)

    async def nobody() -> bool | None:
        return True if await storage.call("nvmf_subsystem_get_controllers", nqn=SUBNQN) == [] else None

    await until(nobody, "the session's end")


async def test_a_path_is_given_up_after_its_time(storage: Process, dpu: Process, address: dict[str, str]) -> None:
    await export(storage, address)
    await attach(dpu, address, ctrlr_loss_timeout_sec=1)
    await storage.call("nvmf_subsystem_remove_host", nqn=SUBNQN, host=HOSTNQN)

    async def given_up() -> bool | None:
        return True if await dpu.call("bdev_nvme_get_controllers") == [] else None

    await until(given_up, "the controller's end")
    assert await dpu.call("bdev_get_bdevs") == []
