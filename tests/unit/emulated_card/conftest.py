import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.unit.emulated_card.far_side import FarSide
from tests.unit.emulated_card.host import Host

from dpucsi.testing.leftovers import loop_devices, mounts
from emulated_card.card import EmulatedCard


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's path has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="card-"))
    yield path
    for point in mounts(path / "mnt"):  # a failed test's
        subprocess.run(["umount", point], check=True)
    assert mounts(path) == []
    assert loop_devices(path) == []
    shutil.rmtree(path)


@pytest.fixture
def far(folder: Path) -> FarSide:
    return FarSide(folder / "functions")


@pytest.fixture
def recovery_s() -> float:
    return 30.0


@pytest.fixture
async def host(folder: Path, far: FarSide, recovery_s: float) -> AsyncIterator[Host]:
    """The Host's side of a running card in front of `far`."""
    if os.geteuid() != 0:
        pytest.skip("loop devices and mounts need root")
    card = EmulatedCard(folder, connect=far.connect, recovery_s=recovery_s)
    await card.start()
    yield Host(folder)
    await card.close()
    far.close()
