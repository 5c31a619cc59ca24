"""Functions of a card whose SPDK dies, comes back with more or less, or takes them away; and what the Host does."""

import asyncio
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from tests.unit.emulated_card.far_side import FarSide, MemoryNamespace
from tests.unit.emulated_card.host import Host, until

from dpucsi.errors import UnavailableError
from dpucsi.nvme.sysfs import Disk
from dpucsi.testing.leftovers import mounts
from emulated_card import loops
from emulated_card.function import FIRST_S, GROWTH, LONGEST_S

VOLUME = UUID("6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10")
OTHER = uuid5(VOLUME, "other")
FUNCTION, NEIGHBOUR = "port0-pf0-vf1", "port0-pf0"
ADDRESS = "0000:3b:00.1"
MIB = 1 << 20
SOON_S = 0.3

soon = pytest.mark.parametrize("recovery_s", [SOON_S])


def volume(uuid: UUID = VOLUME) -> MemoryNamespace:
    return MemoryNamespace.of(uuid, 4 * MIB)


async def stays(host: Host, disk: Disk, seconds: float) -> None:
    """The disk is the same all the time."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        assert host.disk(VOLUME) == disk
        await asyncio.sleep(0.02)


async def test_leftovers_are_seen(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    file = str(host.folder / "disks" / disk.name)
    assert await host.leftovers() == [file]
    assert mounts(host.folder) == [file]


async def test_a_fresh_listener_is_noticed_at_once(host: Host, far: FarSide) -> None:
    (host.folder / "functions" / FUNCTION).mkdir()
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(3):
        began = loop.time()
        far.listen(FUNCTION, n1=volume())
        far.connected.clear()
        await far.connected.wait()
        took.append(loop.time() - began)
        await host.shown(VOLUME)
        far.remove_listener(FUNCTION)
        await host.gone(VOLUME)
    assert min(took) < 0.02


@soon
async def test_a_dead_spdk_is_waited_for_longer_than_any_recovery(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    far.die()
    await stays(host, disk, 2 * SOON_S)


async def test_a_dead_spdk_is_tried_ever_less_often(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    await host.shown(VOLUME)
    far.die()
    await until(lambda: len(far.refused) > 12 or None, "tries to connect")
    pauses = [later - earlier for earlier, later in pairwise(far.refused)]
    assert all(pause >= min(FIRST_S * GROWTH**n, LONGEST_S) for n, pause in enumerate(pauses, 1))


@soon
async def test_a_namespace_that_does_not_come_back_is_withdrawn(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume(), n2=volume(OTHER))
    await host.shown(VOLUME)
    other = await host.shown(OTHER)
    far.die()
    del far.namespaces[FUNCTION][1]
    far.listen(FUNCTION)
    await host.gone(VOLUME)
    assert host.disk(OTHER) == other


@soon
async def test_a_namespace_that_comes_late_is_the_same_disk(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    far.die()
    late = far.namespaces[FUNCTION].pop(1)
    far.listen(FUNCTION)
    await until(lambda: FUNCTION in far.sessions or None, "a session")
    far.add(FUNCTION, 1, late)
    await stays(host, disk, 2 * SOON_S)


async def test_another_namespace_in_its_place_is_another_disk(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    far.die()
    far.listen(FUNCTION, n1=volume(OTHER))
    other = await host.shown(OTHER)
    await host.gone(VOLUME)
    assert other.name != disk.name


async def test_another_controller_in_its_place_has_other_disks(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    far.die()
    far.subnqn = "nqn.2024-01.io.example:another"
    far.listen(FUNCTION)
    await until(lambda: _other_name(host, disk), "another disk")
    (controller,) = host.sysfs.controllers().values()
    assert controller.subsysnqn == far.subnqn


def _other_name(host: Host, disk: Disk) -> bool | None:
    found = host.disk(VOLUME)
    return (found is not None and found.name != disk.name) or None


@soon
async def test_a_dead_socket_that_is_taken_away_starts_the_clock(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    far.die()
    (host.folder / "functions" / FUNCTION / "cntrl").unlink()
    await stays(host, disk, SOON_S / 2)
    await host.gone(VOLUME)


@soon
async def test_a_function_that_spdk_is_back_without_is_given_up(host: Host, far: FarSide) -> None:
    far.listen(NEIGHBOUR)
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    far.die()
    far.listen(NEIGHBOUR)
    await stays(host, disk, SOON_S / 2)
    await host.gone(VOLUME)
    assert list(host.sysfs.controllers().values()) != []


async def test_removed_by_the_host_until_it_looks_again(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    await write_control(host.sysfs.pci_function(ADDRESS) / "remove")
    await host.gone(VOLUME)
    await until(lambda: not host.sysfs.pci_function(ADDRESS).exists() or None, "the end of the function")
    far.changed(FUNCTION)
    await write_control(host.folder / "sys/bus/pci/rescan")
    assert (await host.shown(VOLUME)).name != disk.name


async def test_removed_by_the_host_and_plugged_again(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n1=volume())
    await host.shown(VOLUME)
    await write_control(host.sysfs.pci_function(ADDRESS) / "remove")
    await host.gone(VOLUME)
    far.die()
    far.listen(FUNCTION)
    await host.shown(VOLUME)


async def test_reset_by_the_host(host: Host, far: FarSide) -> None:
    namespace = volume()
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    before = far.sessions[FUNCTION]
    namespace.is_stuck = True
    writing = asyncio.ensure_future(host.write(host.node(disk), b"x" * 4096))
    await until(lambda: namespace.log or None, "a command in flight")
    namespace.is_stuck = False
    await write_control(host.sysfs.pci_function(ADDRESS) / "reset")
    await asyncio.wait_for(writing, 10)
    assert far.sessions[FUNCTION] is not before
    assert host.disk(VOLUME) == disk
    assert namespace.data.startswith(b"x" * 4096)


async def write_control(path: Path, text: str = "1") -> None:
    with path.open("r+") as control:
        control.write(text)


async def test_a_disk_is_shown_even_when_the_far_side_dies_meanwhile(host: Host, far: FarSide) -> None:
    namespace = volume()
    namespace.is_stuck = True
    far.listen(FUNCTION, n1=namespace)
    await host.shown(VOLUME)
    assert namespace.log == []


async def test_a_disk_that_cannot_be_made_leaves_nothing(
    host: Host, far: FarSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """losetup makes it, and fails all the same."""
    attach = loops.attach

    async def fail(path: Path, block_size: int, *, is_read_only: bool) -> int:
        await attach(path, block_size, is_read_only=is_read_only)
        monkeypatch.undo()
        raise UnavailableError("no direct I/O")

    monkeypatch.setattr(loops, "attach", fail)
    far.listen(FUNCTION, n1=volume())
    disk = await host.shown(VOLUME)
    assert await host.leftovers() == [str(host.folder / "disks" / disk.name)]
    assert len(mounts(host.folder)) == 1
