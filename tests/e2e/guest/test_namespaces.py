"""What changes while the host is connected: the kernel learns it from asynchronous events alone."""

from uuid import uuid4

import pytest
from tests.contract.nvme_tcp.storage_node import StorageNode
from tests.e2e.guest.linux_host import LinuxHost

from dpucsi.spdk import lvol, nvmf

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_namespace_comes_and_goes(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_lvol(16)
    await host.connect(export)
    await host.disk(export.uuid)
    second = str(uuid4())
    await storage.add_namespace(export, 7, await storage.create_lvol(8), second)
    disk = await host.disk(second, 8 << 20)
    await host.sh(f"dd if=/dev/urandom of={disk.path} bs=64k count=4 oflag=direct conv=fsync 2>/dev/null")
    await nvmf.nvmf_subsystem_remove_ns(storage.spdk, nqn=export.nqn, nsid=7)
    await host.no_disk(second)
    assert await host.find(export.uuid) is not None


async def test_another_volume_under_the_same_nsid_is_another_disk(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_lvol(16)
    await host.connect(export)
    await host.disk(export.uuid)
    successor = str(uuid4())
    bdev_name = await storage.create_lvol(24)
    await nvmf.nvmf_subsystem_remove_ns(storage.spdk, nqn=export.nqn, nsid=1)
    # Linux 6.1 takes a namespace whose identifiers changed away and does not look again.
    await host.no_disk(export.uuid)
    await storage.add_namespace(export, 1, bdev_name, successor)
    await host.disk(successor, 24 << 20)


async def test_a_disk_grows_under_its_mounted_file_system(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_lvol(16)
    await host.connect(export)
    disk = await host.disk(export.uuid, 16 << 20)
    await host.sh(f"mkfs.ext4 -q {disk.path} && mount {disk.path} /mnt && head -c 2M /dev/urandom > /mnt/a")
    await lvol.bdev_lvol_resize(storage.spdk, name=export.bdev_name, size_in_mib=48)
    await host.disk(export.uuid, 48 << 20)
    await host.sh(f"resize2fs {disk.path} && head -c 20M /dev/zero > /mnt/b && sync -f /mnt && umount /mnt")
    await host.sh(f"e2fsck -fn {disk.path}")


async def test_a_file_system_whose_disk_goes_fails_and_harms_no_other(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_lvol(16)
    second = str(uuid4())
    await storage.add_namespace(export, 2, await storage.create_lvol(16), second)
    controller = await host.connect(export)
    disk, other = await host.disk(export.uuid), await host.disk(second)
    await host.sh(f"mkfs.ext4 -q {disk.path} && mount {disk.path} /mnt")
    await nvmf.nvmf_subsystem_remove_ns(storage.spdk, nqn=export.nqn, nsid=1)
    await host.no_disk(export.uuid)
    assert (await host.run("head -c 1M /dev/urandom > /mnt/a && sync -f /mnt"))[0] != 0
    await host.sh("umount /mnt")
    assert await host.attribute(controller, "state") == "live"
    await host.sh(f"dd if=/dev/urandom of={other.path} bs=64k count=4 oflag=direct conv=fsync 2>/dev/null")
