"""Bytes: file systems, verified random I/O with and without digests, and what the storage node then holds."""

import hashlib

import pytest
from tests.contract.nvme_tcp.storage_node import StorageNode
from tests.e2e.guest.linux_host import LinuxHost
from tests.e2e.guest.linux_io import verified

pytestmark = pytest.mark.asyncio(loop_scope="session")

# mkfs.xfs refuses less than 300 MiB. Both ask for the whole disk to be discarded first.
_FILE_SYSTEMS = {"ext4": ("mkfs.ext4 -q", 64, "e2fsck -fn"), "xfs": ("mkfs.xfs -q", 320, "xfs_repair -n")}
_DIGESTS = {"plain": (), "digests": ("--hdr-digest", "--data-digest"), "header digest": ("--hdr-digest",)}


@pytest.mark.parametrize("kind", _FILE_SYSTEMS)
async def test_a_file_system_keeps_its_files(host: LinuxHost, storage: StorageNode, kind: str) -> None:
    make, mib, check = _FILE_SYSTEMS[kind]
    export = await storage.export_file(mib)
    await host.connect(export)
    disk = await host.disk(export.uuid)
    await host.sh(
        f"set -e; {make} {disk.path}; mount {disk.path} /mnt; head -c 4M /dev/urandom > /mnt/a; cp /mnt/a /mnt/b; "
        "sha256sum /mnt/a > /mnt/sum; rm /mnt/a; fstrim /mnt; umount /mnt"
    )
    await host.disconnect(export)
    await host.connect(export)
    disk = await host.disk(export.uuid)
    await host.sh(
        f"set -e; {check} {disk.path}; mount {disk.path} /mnt; mv /mnt/b /mnt/a; sha256sum -c /mnt/sum; umount /mnt"
    )


@pytest.mark.parametrize("digests", _DIGESTS)
async def test_random_io_of_all_sizes_reads_back_as_written(
    host: LinuxHost, storage: StorageNode, digests: str
) -> None:
    export = await storage.export_file(8)
    mark = await host.mark()
    await host.connect(export, *_DIGESTS[digests], io_queues=2)
    disk = await host.disk(export.uuid)
    sizes = ("--bsrange=4k-512k", "--bs_unaligned=0", "--blockalign=4k")  # in-capsule, one R2T, several commands
    await host.sh(verified(disk, "--rw=randwrite", *sizes, "--iodepth=16", "--size=8m", "--numjobs=1"))
    await host.sh(verified(disk, "--rw=randrw", "--bs=4k", "--iodepth=32", "--size=2m", "--fsync=64"))
    said = await host.said_since(mark)
    assert "error" not in said.lower()
    assert "digest" not in said.lower()


async def test_the_storage_holds_what_was_written_and_only_that(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    await host.connect(export)
    disk = await host.disk(export.uuid)
    digest = await host.sh(
        f"set -e; head -c 1M /dev/urandom > /tmp/data; sha256sum < /tmp/data; "
        f"dd if=/tmp/data of={disk.path} bs=1M seek=2 oflag=direct conv=fsync 2>/dev/null"
    )
    assert hashlib.sha256(export.read(2 << 20, 1 << 20)).hexdigest() == digest.split()[0]
    assert not any(export.read(0, 2 << 20))
    assert not any(export.read(3 << 20, 5 << 20))


@pytest.mark.parametrize("command", ["blkdiscard", "blkdiscard -z"], ids=["discard", "write zeroes"])
async def test_taken_back_ranges_read_as_zeros(host: LinuxHost, storage: StorageNode, command: str) -> None:
    export = await storage.export_file(8)
    await host.connect(export)
    disk = await host.disk(export.uuid)
    await host.sh(f"tr '\\0' x < /dev/zero | dd of={disk.path} bs=1M count=8 iflag=fullblock oflag=direct 2>/dev/null")
    await host.sh(f"{command} -o 2M -l 3M {disk.path}")
    await host.sh(f"cmp -n 3M -i 2M:0 {disk.path} /dev/zero")
    assert export.read(0, 2 << 20) == b"x" * (2 << 20)
    assert not any(export.read(2 << 20, 3 << 20))
    assert export.read(5 << 20, 3 << 20) == b"x" * (3 << 20)


async def test_an_access_past_the_end_fails_and_nothing_else(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = await host.connect(export)
    disk = await host.disk(export.uuid)
    blocks = export.size // 4096
    read = f"nvme read {disk.path} -z 4096 -c 0 -s "
    assert "LBA Out of Range" in (await host.run(f"{read}{blocks}"))[1]
    assert "LBA Out of Range" in (await host.run(f"{read}{(1 << 64) - 1}"))[1]
    assert (await host.run(f"{read}{blocks - 1}"))[0] == 0
    assert await host.attribute(controller, "state") == "live"


async def test_a_compare_tells_equal_from_different(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    await host.connect(export)
    disk = await host.disk(export.uuid)
    compare = f"nvme compare {disk.path} -z 4096 -c 0 -s 1 -d "
    assert (await host.run(f"head -c 4096 /dev/zero > /tmp/zeros; {compare} /tmp/zeros"))[0] == 0
    status, said = await host.run(f"head -c 4096 /dev/urandom > /tmp/other; {compare} /tmp/other")
    assert status != 0
    assert "Compare Failure" in said
