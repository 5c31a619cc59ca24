"""Namespaces as disks of this machine's kernel: FUSE, loop devices, file systems."""

import asyncio
import os
import re
import stat
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from tests.unit.emulated_card.far_side import BLOCK, FarSide, MemoryNamespace
from tests.unit.emulated_card.host import Host, run, until

from dpucsi.model import HostDisk
from dpucsi.nvme.find import verify

VOLUME = UUID("6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10")
FUNCTION = "port0-pf0-vf1"
MIB = 1 << 20
FAILED = re.compile("Input/output error|Read-only")  # ext4 goes read-only after an error
REFUSED = re.compile("not permitted|Permission|Read-only")
DIRECT = ("bs=256k", "count=16", "oflag=direct", "conv=notrunc", "status=none")


async def test_a_namespace_is_a_disk_that_the_host_finds(host: Host, far: FarSide) -> None:
    far.listen(FUNCTION, n7=MemoryNamespace.of(VOLUME, 64 * MIB))
    disk = await host.shown(VOLUME)
    assert (disk.uuid, disk.nguid, disk.nsid, disk.size_bytes) == (VOLUME, VOLUME.hex, 7, 64 * MIB)
    assert disk.pci_addresses == ("0000:3b:00.1",)
    (controller,) = disk.controllers
    assert (controller.state, controller.driver, controller.subsysnqn) == ("live", "nvme", far.subnqn)
    assert not disk.name.startswith(controller.name)
    assert set(host.sysfs.marks()) == {disk.name, disk.name.replace("nvme1n", "nvme1c0n")}
    node = host.node(disk)
    assert stat.S_ISBLK(node.stat().st_mode)
    assert verify(host.sysfs, node, HostDisk(VOLUME, VOLUME.hex, 7, 64 * MIB, "0000:3b:00.1")) == disk
    far.remove_listener(FUNCTION)
    await host.gone(VOLUME)
    await until(lambda: not host.sysfs.controllers() or None, "the end of the controller")


async def test_bytes_blocks_and_direct_io(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 16 * MIB)
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    await host.write(host.node(disk), b"x" * BLOCK)
    assert namespace.data[:BLOCK] == b"x" * BLOCK
    assert ("flush", 0, 0) in namespace.log
    namespace.data[BLOCK : 2 * BLOCK] = b"y" * BLOCK
    assert await host.read_device(host.node(disk), BLOCK, BLOCK) == b"y" * BLOCK
    queue = Path(f"/sys/dev/block/{disk.dev[0]}:{disk.dev[1]}")
    assert (queue / "queue/logical_block_size").read_text().strip() == "4096"
    assert (queue / "loop/dio").read_text().strip() == "1"


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_file_system(host: Host, far: FarSide, fs_type: str) -> None:
    far.listen(FUNCTION, n1=MemoryNamespace.of(VOLUME, 320 * MIB))
    disk = await host.shown(VOLUME)
    point = await host.mounted(disk, fs_type)
    data = os.urandom(4 * MIB)
    await host.write(point / "file", data)
    await run("umount", point)
    await run("mount", host.node(disk), point)
    assert await host.read(point / "file") == data
    await run("umount", point)


@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_a_write_waits_for_the_far_side_to_come_back(host: Host, far: FarSide, fs_type: str) -> None:
    far.listen(FUNCTION, n1=MemoryNamespace.of(VOLUME, 320 * MIB))
    disk = await host.shown(VOLUME)
    point = await host.mounted(disk, fs_type)
    await host.write(point / "before", b"before" * 1000)
    far.die()
    writing = asyncio.ensure_future(host.write(point / "during", b"during" * 1000))
    done, _ = await asyncio.wait({writing}, timeout=0.5)
    assert not done, "an fsync returned while nobody was there"
    assert await host.shown(VOLUME) == disk
    far.listen(FUNCTION)
    await asyncio.wait_for(writing, 10)
    await run("umount", point)
    await run("mount", "-o", "ro", host.node(disk), point)
    assert await host.read(point / "before") == b"before" * 1000
    assert await host.read(point / "during") == b"during" * 1000
    await run("umount", point)


async def test_a_command_in_flight_is_sent_again(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 16 * MIB)
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    namespace.is_stuck = True
    writing = asyncio.ensure_future(host.write(host.node(disk), b"z" * BLOCK))
    await until(lambda: ("write", 0, BLOCK) in namespace.log or None, "the write in flight")
    far.die()
    namespace.is_stuck = False
    far.listen(FUNCTION)
    await asyncio.wait_for(writing, 10)
    assert namespace.log.count(("write", 0, BLOCK)) == 2
    assert namespace.data[:BLOCK] == b"z" * BLOCK


@pytest.mark.parametrize("cause", ["namespace", "listener"])
async def test_io_fails_after_withdrawal_and_umount_does_not_hang(host: Host, far: FarSide, cause: str) -> None:
    namespace = MemoryNamespace.of(VOLUME, 320 * MIB)
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    point = await host.mounted(disk, "ext4")
    namespace.is_stuck = True
    namespace.log.clear()
    writing = asyncio.ensure_future(host.write(point / "file", b"lost"))
    await until(lambda: namespace.log or None, "a command in flight")
    if cause == "namespace":
        far.drop(FUNCTION, 1)
    else:
        far.remove_listener(FUNCTION)
    with pytest.raises(OSError, match=FAILED):
        await asyncio.wait_for(writing, 10)
    await host.gone(VOLUME)
    await until(lambda: not host.node(disk).exists() or None, "the end of the node")
    with pytest.raises(OSError, match=FAILED):
        await host.write(point / "more", b"lost")
    await asyncio.wait_for(run("umount", point), 10)


async def test_growth_under_load(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 32 * MIB)
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    is_enough = False

    async def load() -> None:
        while not is_enough:
            await run("dd", "if=/dev/zero", f"of={host.node(disk)}", *DIRECT)

    loading = [asyncio.ensure_future(load()) for _ in range(4)]
    for size in (40, 64, 80):
        namespace.data.extend(bytes(size * MIB - len(namespace.data)))
        far.changed(FUNCTION)
        await host.sized(VOLUME, size * MIB)
        sectors = Path(f"/sys/dev/block/{disk.dev[0]}:{disk.dev[1]}/size").read_text()
        assert int(sectors) * 512 == size * MIB
        end = size * MIB - BLOCK
        namespace.data[end:] = f"{size}".encode() * (BLOCK // 2)
        assert await host.read_device(host.node(disk), end, BLOCK) == namespace.data[end:]
    is_enough = True
    await asyncio.gather(*loading)


async def test_a_mounted_file_system_grows(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 320 * MIB)
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    point = await host.mounted(disk, "xfs")
    before = int(await run("stat", "-fc", "%b", point))
    namespace.data.extend(bytes(320 * MIB))
    far.changed(FUNCTION)
    await host.sized(VOLUME, 640 * MIB)
    await run("xfs_growfs", point)
    assert int(await run("stat", "-fc", "%b", point)) > 1.8 * before
    await run("umount", point)


async def test_a_discard_is_an_unmap(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 16 * MIB)
    far.listen(FUNCTION, n1=namespace)
    node = host.node(await host.shown(VOLUME))
    namespace.data[:] = b"x" * len(namespace.data)
    await run("blkdiscard", "-o", str(MIB), "-l", str(MIB), node)
    assert namespace.data == b"x" * MIB + bytes(MIB) + b"x" * (14 * MIB)
    assert ("unmap", MIB, MIB) in namespace.log
    assert not {what for what, *_ in namespace.log} & {"write", "write_zeroes"}


async def test_zeroes_are_zeroes_whatever_an_unmap_leaves(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 16 * MIB, keeps_unmapped=True)
    far.listen(FUNCTION, n1=namespace)
    node = host.node(await host.shown(VOLUME))
    namespace.data[:] = b"x" * len(namespace.data)
    await run("fallocate", "--punch-hole", "-o", str(MIB), "-l", str(2 * MIB), node)
    await run("blkdiscard", "--zeroout", "-o", str(4 * MIB), "-l", str(MIB), node)
    assert namespace.data == b"x" * MIB + bytes(2 * MIB) + b"x" * MIB + bytes(MIB) + b"x" * (11 * MIB)
    assert "write" not in {what for what, *_ in namespace.log}, "zeroes went over the wire"


async def test_a_read_only_namespace(host: Host, far: FarSide) -> None:
    namespace = MemoryNamespace.of(VOLUME, 16 * MIB, is_read_only=True)
    far.listen(FUNCTION, n1=namespace)
    disk = await host.shown(VOLUME)
    assert disk.read_only
    assert await run("blockdev", "--getro", host.node(disk)) == b"1\n"
    with pytest.raises(OSError, match=REFUSED):
        await host.write(host.node(disk), b"x")
    assert await host.read_device(host.node(disk), 0, BLOCK) == bytes(BLOCK)


async def test_64_namespaces_and_a_stuck_one_blocks_no_other(host: Host, far: FarSide) -> None:
    namespaces = {f"n{nsid}": MemoryNamespace.of(uuid5(VOLUME, str(nsid)), 4 * MIB) for nsid in range(1, 65)}
    far.listen(FUNCTION, **namespaces)
    disks = {nsid: await host.shown(uuid5(VOLUME, str(nsid))) for nsid in range(1, 65)}
    assert len({disk.name for disk in disks.values()}) == 64
    namespaces["n13"].is_stuck = True
    stuck = asyncio.ensure_future(host.write(host.node(disks[13]), b"stuck"))
    await until(lambda: namespaces["n13"].log or None, "the stuck write")
    for nsid, disk in disks.items():
        if nsid != 13:
            await host.write(host.node(disk), f"disk {nsid}".encode())
            assert namespaces[f"n{nsid}"].data.startswith(f"disk {nsid}".encode())
    assert not stuck.done()
    far.drop(FUNCTION, 13)
    with pytest.raises(OSError, match="Input/output error"):
        await asyncio.wait_for(stuck, 10)
