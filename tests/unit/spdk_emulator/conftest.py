from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.spdk_emulator.replay import Replay

from spdk_emulator.emulator import Emulator


@pytest.fixture
async def emulators() -> dict[str, Emulator]:
    return {"storage": Emulator(attach_s=0), "dpu": Emulator(attach_s=0)}


@pytest.fixture
async def replay(emulators: dict[str, Emulator], tmp_path: Path) -> AsyncIterator[Replay]:
    (tmp_path / "vfu/pf0vf1").mkdir(parents=True)
    for name, size in {"aio0.img": 4 << 30, "a.img": 256 << 20, "b.img": 1 << 30}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    yield Replay(emulators, tmp_path)
    for emulator in emulators.values():
        emulator.close()
