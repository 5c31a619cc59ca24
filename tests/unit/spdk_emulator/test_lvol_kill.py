"""The process is killed before every single thing that it does to the disk; what it had answered is there again."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spdk_emulator.stores import CLUSTER, Plain
from tests.unit.spdk_emulator.test_lvol_model import Both, Step

from spdk_emulator.bdev import blob, file_bytes, lvol_changes, lvol_copies

STEPS: list[Step] = [
    ("create", 0, 3, 0),
    ("create thick", 0, 1, 0),
    ("write", 0, 0, 200),
    ("snapshot", 0, 0, 0),
    ("write", 0, 1, 9),  # part of a cluster of a clone: a copy comes first
    ("write_zeroes", 0, 35, 2),
    ("unmap", 0, 1, 30),
    ("snapshot", 0, 0, 0),
    ("snapshot", 1, 0, 0),
    ("write", 1, 2, 4),
    ("clone", 2, 0, 0),
    ("resize", 0, 6, 0),
    ("write", 0, 190, 1),
    ("resize", 0, 2, 0),
    ("resize", 0, 5, 0),
    ("decouple", 0, 0, 0),
    ("inflate", 5, 0, 0),
    ("delete", 3, 0, 0),  # has no clone
    ("delete", 3, 0, 0),  # its clone gets what it has
    ("delete", 2, 0, 0),
    ("unmap", 0, 0, 200),
]


class KilledError(BaseException):
    """Nothing of ours catches it."""


@contextmanager
def killed_before(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every effect on the disk is named in the list; the one with this number does not come, nor any after it."""
    effects: list[str] = []

    def dying(name: str, effect: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            effects.append(name)
            if len(effects) == number and half is not None:
                half(*args)
            if len(effects) >= number:
                raise KilledError
            return effect(*args, **kwargs)

        return call

    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        torn = dying("pwrite", pwrite, lambda fd, data, offset: pwrite(fd, memoryview(data)[: len(data) // 2], offset))
        patch.setattr(os, "pwrite", torn)
        patch.setattr(os, "truncate", dying("truncate", os.truncate))
        patch.setattr(Path, "replace", dying("replace", Path.replace))
        patch.setattr(Path, "unlink", dying("unlink", Path.unlink))
        patch.setattr(blob, "zero_at", dying("punch", file_bytes.zero_at))
        yield effects


async def play(together: Both, steps: list[Step]) -> list[dict[str, Plain]]:
    """The states after each step."""
    states = [copy.deepcopy(together.plain)]
    for step in steps:
        await together.step(*step)
        states.append(copy.deepcopy(together.plain))
    return states


def shape(plain: dict[str, Plain]) -> dict[str, tuple[int, str | None, bool, bool]]:
    names: dict[Plain | None, str | None] = {one: name for name, one in plain.items()}
    return {name: (one.clusters, names.get(one.parent), one.is_thin, one.is_read_only) for name, one in plain.items()}


def shape_found(together: Both) -> dict[str, tuple[int, str | None, bool, bool]]:
    lvols = together.storage.store.lvols.values()
    return {
        lvol.name: (
            lvol.blob.clusters,
            lvol.parent.name if lvol.parent else None,
            lvol.record.is_thin,
            lvol.is_read_only,
        )
        for lvol in lvols
    }


async def check(together: Both, before: dict[str, Plain], after: dict[str, Plain], step: Step) -> None:
    """What is there is the state before or after the step that was cut off."""
    found = shape_found(together)
    assert found in (shape(before), shape(after)), step
    state = after if found == shape(after) else before
    held = 0
    for name, plain in state.items():
        data = await together.storage.read(name)
        allowed = [plain.read(), *(other[name].read() for other in (before, after) if name in other)]
        if data not in allowed:  # a write that was cut off: each byte is the old or the new one
            assert step[0] in ("write", "write_zeroes", "unmap"), (step, name)
            assert all(one in options for one, *options in zip(data, *allowed, strict=True)), (step, name)
        there = together.storage.lvol(name).blob
        assert there.allocated == sum(there.owns(number) for number in range(plain.clusters))
        held += there.allocated
    assert together.storage.store.space.free == max(together.total - held, 0)


async def check_nothing_hidden(together: Both) -> None:
    """What was left over in a file does not come up when the lvol has no parent any more, nor when it grows."""
    for lvol in list(together.storage.store.lvols.values()):
        name = lvol.name
        data = await together.storage.read(name)
        while lvol.parent is not None:
            await together.storage.run(lvol_copies.decouple, name)
        assert await together.storage.read(name) == data, name
        if not lvol.is_read_only:
            await together.storage.run(lvol_changes.resize, name, len(data) + 6 * CLUSTER)
            assert await together.storage.read(name) == data + bytes(6 * CLUSTER), name


async def test_killed_at_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    whole = Both(tmp_path / "whole")
    with killed_before(1 << 30, monkeypatch) as effects:
        states = await play(whole, STEPS)
    await whole.compare()
    whole.storage.close()
    assert {"pwrite", "truncate", "replace", "unlink", "punch"} <= set(effects)
    for number in range(1, len(effects) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        await one_life(Both(folder), number, states, monkeypatch)


async def one_life(
    together: Both, number: int, states: list[dict[str, Plain]], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0
    with killed_before(number, monkeypatch), pytest.raises(KilledError):
        for step in STEPS:
            await together.step(*step)
            done += 1
    descriptors = together.storage
    together.storage = copy.copy(together.storage)
    together.storage.open()
    await check(together, states[done], states[done + 1], STEPS[done])
    together.storage.close()
    together.storage.open()  # once more: the cleaning up can be relied on as well
    await check(together, states[done], states[done + 1], STEPS[done])
    await check_nothing_hidden(together)
    together.storage.close()
    descriptors.close()
