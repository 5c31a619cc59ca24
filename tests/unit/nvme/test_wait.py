import asyncio
import os

import pytest
from tests.unit.nvme.test_find import FUNCTION, UUID_A, WANT, add, tree  # noqa: F401  # the fixture

from dpucsi.errors import FailedPreconditionError, TimedOutError
from dpucsi.nvme import Sysfs
from dpucsi.nvme.uevents import listen
from dpucsi.nvme.wait import wait_for_disk, wait_until_gone

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes device nodes")


async def test_comes_while_we_wait(tree):  # noqa: F811
    waiting = asyncio.create_task(wait_for_disk(Sysfs(tree.sys), tree.dev, WANT, timeout_s=10))
    await asyncio.sleep(0)
    add(tree, node=True)
    assert (await waiting).name == "nvme0n1"


async def test_its_node_comes_later(tree):  # noqa: F811
    add(tree)
    waiting = asyncio.create_task(wait_for_disk(Sysfs(tree.sys), tree.dev, WANT, timeout_s=10))
    await asyncio.sleep(0)
    os.mknod(tree.dev / "nvme0n1", 0o060600, os.makedev(259, 7))
    assert (await waiting).dev == (259, 7)


async def test_never_comes(tree):  # noqa: F811
    with pytest.raises(TimedOutError, match=f"{UUID_A}.*did not appear"):
        await wait_for_disk(Sysfs(tree.sys), tree.dev, WANT, timeout_s=0.1)


async def test_a_wrong_one_comes_instead(tree):  # noqa: F811
    add(tree, node=True, nsid=9)
    with pytest.raises(FailedPreconditionError, match="nsid 9"):
        await wait_for_disk(Sysfs(tree.sys), tree.dev, WANT, timeout_s=10)


async def test_a_wrong_one_that_is_just_leaving(tree):  # noqa: F811
    add(tree, "nvme0n4", node=True, nsid=9)
    waiting = asyncio.create_task(wait_for_disk(Sysfs(tree.sys), tree.dev, WANT, timeout_s=10))
    await asyncio.sleep(0)
    tree.remove_disk("nvme0n4")
    add(tree, node=True)
    assert (await waiting).name == "nvme0n1"


async def test_goes_while_we_wait(tree):  # noqa: F811
    add(tree)
    waiting = asyncio.create_task(wait_until_gone(Sysfs(tree.sys), WANT, timeout_s=10))
    await asyncio.sleep(0)
    assert not waiting.done()
    tree.remove_disk("nvme0n1")
    await waiting


async def test_a_hidden_path_that_stays_is_not_gone(tree):  # noqa: F811
    add(tree)
    (tree.sys / "block/nvme0n1").unlink()
    with pytest.raises(TimedOutError, match="nvme0c1n1"):
        await wait_until_gone(Sysfs(tree.sys), WANT, timeout_s=0.1)


async def test_the_function_held_by_another_driver(tree):  # noqa: F811
    (tree.sys / "bus/pci/devices" / FUNCTION / "driver").unlink()
    tree.add_function(FUNCTION, "vfio-pci")
    with pytest.raises(FailedPreconditionError, match="vfio-pci"):
        await wait_for_disk(Sysfs(tree.sys), tree.dev, WANT, timeout_s=10)


async def test_listening_to_the_kernel_does_no_harm():
    with listen() as uevents:
        if uevents is not None:
            await uevents.next(0.01)
