"""The card and the SPDK of a DPU as processes: a volume over both, kills of either, an orderly end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from tests.unit.emulated_card.host import Host, run, until
from tests.unit.spdk_emulator.processes import PATHS, Process, end, running

from dpucsi.nvme.sysfs import Disk
from dpucsi.testing.leftovers import mounts

VOLUME = UUID("6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10")
SUBNQN = "nqn.2024-01.io.example:host-disk"
MIB = 1 << 20
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root")


class Card:
    """One emulated-card in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.process: asyncio.subprocess.Process | None = None

    async def launch(self) -> asyncio.subprocess.Process:
        with (self._folder / "card.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "emulated_card", "--folder", str(self._folder)),
                stderr=log,
                env={**os.environ, "PYTHONPATH": PATHS},
            )

    async def start(self) -> None:
        self.process = await self.launch()
        pid_file = self._folder / "card.pid"
        await until(
            lambda: (pid_file.exists() and pid_file.read_text() == f"{self.pid}\n") or None, "the card being ready"
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        return await end(self.process, number)


@pytest.fixture
async def card(folder: Path) -> AsyncIterator[Card]:
    card = Card(folder)
    await card.start()
    yield card
    await card.end()


@pytest.fixture
async def dpu(folder: Path, card: Card) -> AsyncIterator[Process]:
    async with running(folder, "dpu") as process:
        yield process


@pytest.fixture
def site(folder: Path) -> Host:
    return Host(folder)


async def serve(dpu: Process, folder: Path, nsid: int = 7) -> None:
    """What opi-bridge does on a DPU that knows nothing."""
    function = folder / "functions/port0-pf0-vf1"
    function.mkdir(parents=True, exist_ok=True)
    for left in ("cntrl", "bar0"):
        (function / left).unlink(missing_ok=True)
    backing = folder / "bytes.img"
    with backing.open("ab") as file:
        file.truncate(320 * MIB)
    address = {"trtype": "VFIOUSER", "traddr": str(function), "trsvcid": "0"}
    namespace = {"bdev_name": "bytes", "nsid": nsid, "uuid": str(VOLUME), "nguid": VOLUME.hex}
    await dpu.call("bdev_aio_create", name="bytes", filename=str(backing), block_size=4096)
    await dpu.call("nvmf_create_transport", trtype="VFIOUSER")
    await dpu.call("nvmf_create_subsystem", nqn=SUBNQN, allow_any_host=True, serial_number="S1", model_number="M")
    await dpu.call("nvmf_subsystem_add_ns", nqn=SUBNQN, namespace=namespace)
    await dpu.call("nvmf_subsystem_add_listener", nqn=SUBNQN, listen_address=address)


async def used(site: Host) -> tuple[Disk, Path]:
    """The disk, and a file system on it with one file."""
    disk = await site.shown(VOLUME)
    point = await site.mounted(disk, "ext4")
    await site.write(point / "file", b"before")
    return disk, point


async def test_a_volume_over_both(folder: Path, dpu: Process, site: Host) -> None:
    await serve(dpu, folder)
    disk, point = await used(site)
    assert (disk.nguid, disk.nsid, disk.size_bytes) == (VOLUME.hex, 7, 320 * MIB)
    (controller,) = disk.controllers
    assert (controller.subsysnqn, controller.address) == (SUBNQN, "0000:3b:00.1")
    await run("umount", point)
    await run("mount", site.node(disk), point)
    assert await site.read(point / "file") == b"before"
    await run("umount", point)
    await dpu.call("nvmf_subsystem_remove_ns", nqn=SUBNQN, nsid=7)
    await site.gone(VOLUME)
    await dpu.call("nvmf_delete_subsystem", nqn=SUBNQN)
    await until(lambda: not site.sysfs.controllers() or None, "the end of the controller")


async def test_an_fsync_survives_a_kill_of_spdk(folder: Path, dpu: Process, site: Host) -> None:
    await serve(dpu, folder)
    disk, point = await used(site)
    await dpu.end(signal.SIGKILL)
    writing = asyncio.ensure_future(site.write(point / "file", b"during"))
    await dpu.start()
    await serve(dpu, folder)
    await asyncio.wait_for(writing, 20)
    assert await site.shown(VOLUME) == disk
    await run("umount", point)
    await run("mount", site.node(disk), point)
    assert await site.read(point / "file") == b"during"
    await run("umount", point)


async def test_an_orderly_end_of_spdk_takes_the_disk_away(folder: Path, dpu: Process, site: Host) -> None:
    await serve(dpu, folder)
    _, point = await used(site)
    await dpu.end()
    await site.gone(VOLUME)
    with pytest.raises(OSError, match=r"Input/output error|Read-only"):
        await site.write(point / "file", b"lost")
    await asyncio.wait_for(run("umount", point), 10)


async def test_sigterm_leaves_nothing(folder: Path, card: Card, dpu: Process, site: Host) -> None:
    await serve(dpu, folder)
    await site.shown(VOLUME)
    assert await card.end() == 0
    assert await site.leftovers() == []
    assert mounts(folder) == []
    assert not list((folder / "dev").iterdir())
    assert not site.sysfs.marks()
    assert not (folder / "card.pid").exists()


async def test_sigterm_under_a_mounted_file_system(folder: Path, card: Card, dpu: Process, site: Host) -> None:
    await serve(dpu, folder)
    _, point = await used(site)
    assert await card.end() == 0
    with pytest.raises(OSError, match=r"Input/output error|Read-only"):
        await site.write(point / "file", b"lost")
    await asyncio.wait_for(run("umount", point), 10)


async def test_a_killed_card_is_cleared_by_the_next_one(folder: Path, card: Card, dpu: Process, site: Host) -> None:
    await serve(dpu, folder)
    disk, point = await used(site)
    await card.end(signal.SIGKILL)
    await card.start()
    again = await until(
        lambda: next((found for found in site.sysfs.disks() if found.name != disk.name), None), "the disk anew"
    )
    assert again.uuid == VOLUME
    assert again.controllers[0].name != disk.controllers[0].name
    with pytest.raises(OSError, match=r"Input/output error|Read-only"):
        await site.write(point / "more", b"lost")
    await asyncio.wait_for(run("umount", point), 10)
    await run("mount", site.node(again), point)
    assert await site.read(point / "file") == b"before"
    await run("umount", point)


async def test_two_cards_in_one_folder(folder: Path, card: Card) -> None:
    second = await card.launch()
    assert await asyncio.wait_for(second.wait(), 20) == 1
    assert b"another emulated-card" in (folder / "card.log").read_bytes()
    assert (folder / "card.pid").read_text() == f"{card.pid}\n"
