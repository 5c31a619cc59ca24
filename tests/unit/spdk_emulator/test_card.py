"""The emulated card: real loop devices and a tree that the Host's own reader understands."""

import os
import signal
import stat
from pathlib import Path
from uuid import UUID

import pytest
from tests.unit.spdk_emulator.processes import Process, running, until

from dpucsi.model import HostDisk, HostFunction
from dpucsi.nvme.find import verify
from dpucsi.nvme.sysfs import Disk, Sysfs
from spdk_emulator.card import loops
from spdk_emulator.card.addresses import pci_address

VOLUME = UUID("6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10")
SUBNQN = "nqn.2024-01.io.example:host-disk"
SIZE = 64 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and device nodes need root")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    file = tmp_path / "bytes.img"
    with file.open("wb") as opened:
        opened.truncate(SIZE)
    return file


async def show(dpu: Process, backing: Path, card: Path) -> None:
    function = card / "functions/port0-pf0-vf1"
    function.mkdir(parents=True, exist_ok=True)
    for left in ("cntrl", "bar0"):
        (function / left).unlink(missing_ok=True)
    address = {"trtype": "VFIOUSER", "traddr": str(function), "trsvcid": "0"}
    namespace = {"bdev_name": "bytes", "nsid": 7, "uuid": str(VOLUME), "nguid": VOLUME.hex}
    await dpu.call("bdev_aio_create", name="bytes", filename=str(backing), block_size=4096)
    await dpu.call("nvmf_create_transport", trtype="VFIOUSER")
    await dpu.call("nvmf_create_subsystem", nqn=SUBNQN, allow_any_host=True)
    await dpu.call("nvmf_subsystem_add_listener", nqn=SUBNQN, listen_address=address)
    await dpu.call("nvmf_subsystem_add_ns", nqn=SUBNQN, namespace=namespace)


async def shown(sysfs: Sysfs) -> Disk:
    async def look() -> Disk | None:
        return next(iter(sysfs.disks()), None)

    return await until(look, "the disk")


async def none_left(sysfs: Sysfs, backing: Path) -> None:
    async def look() -> bool | None:
        return True if not sysfs.marks() and not sysfs.controllers() and not loops.all_over(str(backing)) else None

    await until(look, "the disk's end")


@needs_root
async def test_a_namespace_is_a_disk_that_the_host_finds(tmp_path: Path, backing: Path) -> None:
    card = tmp_path / "card"
    sysfs = Sysfs(card / "sys")
    async with running(tmp_path, "dpu", "--card", str(card)) as dpu:
        await show(dpu, backing, card)
        disk = await shown(sysfs)
        assert (disk.uuid, disk.nguid, disk.nsid, disk.size_bytes) == (VOLUME, VOLUME.hex, 7, SIZE)
        assert disk.pci_addresses == ("0000:3b:00.1",)
        (controller,) = disk.controllers
        assert (controller.state, controller.driver, controller.subsysnqn) == ("live", "nvme", SUBNQN)
        assert not disk.name.startswith(controller.name)
        assert set(sysfs.marks()) == {disk.name, disk.name.replace("nvme1n", "nvme1c0n")}
        node = card / "dev" / disk.name
        assert stat.S_ISBLK(node.stat().st_mode)
        assert verify(sysfs, node, HostDisk(VOLUME, VOLUME.hex, 7, SIZE, "0000:3b:00.1")) == disk
        with node.open("r+b") as opened:
            opened.write(b"x" * 4096)
        assert backing.read_bytes()[:4096] == b"x" * 4096
        await dpu.call("nvmf_subsystem_remove_ns", nqn=SUBNQN, nsid=7)
        await dpu.call("nvmf_delete_subsystem", nqn=SUBNQN)
        await none_left(sysfs, backing)


@needs_root
async def test_the_card_outlives_a_kill_and_keeps_its_devices(tmp_path: Path, backing: Path) -> None:
    card = tmp_path / "card"
    sysfs = Sysfs(card / "sys")
    async with running(tmp_path, "dpu", "--card", str(card)) as dpu:
        await show(dpu, backing, card)
        before = await shown(sysfs)
        await dpu.end(signal.SIGKILL)
        assert await shown(sysfs) == before
        await dpu.start()
        await show(dpu, backing, card)
        assert (await dpu.call("nvmf_get_subsystems"))[1]["namespaces"]
        assert await shown(sysfs) == before
        await dpu.end()
        await none_left(sysfs, backing)


@needs_root
async def test_a_device_that_nobody_wants_again_is_withdrawn(tmp_path: Path, backing: Path) -> None:
    card = tmp_path / "card"
    sysfs = Sysfs(card / "sys")
    async with running(tmp_path, "dpu", "--card", str(card), "--card-recovery", "0.3") as dpu:
        await show(dpu, backing, card)
        await shown(sysfs)
        await dpu.end(signal.SIGKILL)
        await dpu.start()
        await none_left(sysfs, backing)


@pytest.mark.parametrize(
    ("function", "address"),
    [
        ("port0-pf0", "0000:3b:00.0"),
        ("port0-pf0-vf2", "0000:3b:00.2"),
        ("port0-pf1", "0000:3c:00.0"),
        ("port1-pf0-vf9", "0000:43:01.1"),
    ],
)
def test_addresses(function: str, address: str) -> None:
    assert pci_address(HostFunction.parse(function)) == address
