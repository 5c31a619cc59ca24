"""One guest for all tests here, booted once; a storage node for each kind: emulated, and real where SPDK_TGT names one.

The assertions are the same for both: what the kernel does with a real target is the measure.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.contract.nvme_tcp.storage_node import StorageNode
from tests.contract.spdk.spdk_process import KINDS
from tests.e2e.guest.guest import COMMANDS, Guest, cache_folder
from tests.e2e.guest.kernel import NoKernelError, ensure_kernel
from tests.e2e.guest.linux_host import LinuxHost

from dpucsi.testing.spdk_command import real_spdk

_MODULES = ("nvme-tcp", "ext4", "xfs")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def host() -> AsyncIterator[LinuxHost]:
    """The guest's kernel as an NVMe/TCP host."""
    missing = [command for command in COMMANDS if shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: run `make guest-packages`")
    try:
        kernel = ensure_kernel(cache_folder() / "kernel")
    except NoKernelError as reason:
        pytest.skip(str(reason))
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        guest = Guest(kernel, Path(folder), modprobe=_MODULES)
        try:
            await guest.start()
            yield LinuxHost(guest)
        finally:
            guest.stop()


@pytest_asyncio.fixture(loop_scope="session", scope="session", params=KINDS)
async def storage(request: pytest.FixtureRequest) -> AsyncIterator[StorageNode]:
    """One storage node that all tests share, each with subsystems of its own."""
    if request.param == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        node = StorageNode(request.param, Path(folder))
        try:
            await node.start()
            yield node
        finally:
            await node.close()


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def no_session_left(host: LinuxHost) -> AsyncIterator[None]:
    """Each test begins and ends without a session."""
    yield
    await host.sh("umount /mnt 2>/dev/null; nvme disconnect-all", timeout_s=30)
