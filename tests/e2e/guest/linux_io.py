"""I/O of the guest: fio with verification, and the states to wait for while it runs."""

import shlex
from collections.abc import Callable

from tests.contract.nvme_tcp.storage_node import Export
from tests.e2e.guest.linux_host import Disk

from dpucsi.aio import wait_until

_VERIFY = ("--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0")


def fio(disk: Disk, *options: str) -> str:
    """A shell command: fio on the disk, past the page cache; it fails on an I/O error."""
    common = ("--name=job", f"--filename={disk.path}", "--ioengine=libaio", "--direct=1", "--group_reporting")
    return shlex.join(("fio", *common, *options))


def verified(disk: Disk, *options: str) -> str:
    """The same, which writes and reads back: it fails on a wrong byte as well."""
    return fio(disk, *_VERIFY, *options)


def endless(disk: Disk) -> str:
    """Random writes until something fails, a minute at most."""
    return fio(disk, "--rw=randwrite", "--bs=16k", "--iodepth=16", "--time_based", "--runtime=60", "--size=8m")


async def bytes_change(export: Export, digest: Callable[[], str] | None = None) -> None:
    """Waits until the storage's bytes are other ones than now: the load has arrived."""
    look = digest or export.digest
    before = look()

    async def changed() -> bool | None:
        return True if look() != before else None

    await wait_until(changed, "a write at the storage node", timeout_s=20)
