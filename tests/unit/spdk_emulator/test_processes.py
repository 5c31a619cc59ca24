"""What the tests learn from the end of a process is true."""

import asyncio
import os
import signal
import time

from tests.unit.spdk_emulator.processes import end

ROUNDS = 100  # the event loop's thread and we wait for the same child: each round is a race with another start
STEP_S = 5e-6


async def test_a_child_that_died_first_keeps_its_status() -> None:
    for late in range(ROUNDS):
        child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        begin = time.perf_counter() + late * STEP_S
        os.kill(child.pid, signal.SIGKILL)
        while time.perf_counter() < begin:
            pass
        assert await end(child, signal.SIGTERM) == -signal.SIGKILL
