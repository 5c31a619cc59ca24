import asyncio
import os
import subprocess

import pytest

from dpucsi.errors import TimedOutError
from dpucsi.testing.leftovers import loop_devices, no_loop_devices


async def test_a_detached_loop_device_that_somebody_has_open_is_waited_for(tmp_path, blank):
    if os.geteuid() != 0:
        pytest.skip("needs root: loop devices")
    command = ["losetup", "--find", "--show", str(blank)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    held = os.open(device, os.O_RDONLY)
    subprocess.run(["losetup", "-d", device], check=True)
    assert loop_devices(tmp_path) == [str(blank)]
    with pytest.raises(TimedOutError, match="no loop device below"):
        await no_loop_devices(tmp_path, timeout_s=0.05)
    waiting = asyncio.create_task(no_loop_devices(tmp_path))
    os.close(held)
    await waiting
