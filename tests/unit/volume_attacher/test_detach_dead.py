"""Detaching a volume whose storage is lost, while I/O waits for it: the OPI server does not answer until it ended."""

import asyncio

import pytest
from tests.unit.volume_attacher.lab import Bench

from dpucsi.aio import wait_until
from volume_attacher import detach
from volume_attacher.record import State


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detach, "HEALTHY_S", 0.05)


async def test_the_paths_are_cut_while_the_namespace_waits(bench: Bench) -> None:
    await bench.attach(addresses=("192.0.2.1", "192.0.2.2"))
    held = bench.fake.hold(1)
    detaching = asyncio.create_task(bench.detach())

    async def cut() -> bool | None:
        return bench.fake.names("nvmePaths") == [] or None

    await wait_until(cut, "the end of both paths", timeout_s=5)
    assert held.reached.is_set()
    assert len(bench.fake.names("nvmeNamespaces")) == 1
    assert not detaching.done()
    held.go.set()
    await detaching
    assert bench.leftovers() == []
    assert bench.record().state is State.UNCONFIRMED


async def test_one_that_goes_at_once_keeps_the_order(bench: Bench) -> None:
    await bench.attach()
    before = len(bench.fake.calls)
    await bench.detach()
    deleted = [call for call in bench.fake.calls[before:] if call.startswith("Delete")]
    assert deleted == ["DeleteNvmeNamespace", "DeleteNvmePath", "DeleteNvmeRemoteController"]
