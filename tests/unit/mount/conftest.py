import asyncio
import os
import subprocess

import pytest

from dpucsi.testing.leftovers import no_loop_devices


@pytest.fixture
def loop(tmp_path):
    """Makes loop devices over files; takes all of them away again."""
    if os.geteuid() != 0:
        pytest.skip("needs root: loop devices")
    made = []

    def make(file):
        command = ["losetup", "--find", "--show", str(file)]
        made.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        return made[-1]

    yield make
    for device in made:
        subprocess.run(["losetup", "-d", device], check=True)
    asyncio.run(no_loop_devices(tmp_path))


@pytest.fixture
def blank(tmp_path):
    """A sparse file of 64 MiB."""
    file = tmp_path / "disk"
    with file.open("wb") as disk:
        disk.truncate(64 << 20)
    return file
