"""A dead network on request, seen from the other side: connections drop, none is made, and after it I/O goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from dpucsi.aio import wait_until
from dpucsi.testing.ports import free_port
from spdk_emulator import methods
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc import table
from spdk_emulator.rpc.errors import RpcError

assert methods.__all__  # importing them fills the table
NQN = "nqn.2024-01.io.example:cut"


async def call(emulator: Emulator, method: str, **params: Any) -> Any:
    answer = table.call(emulator, method, params)
    return await answer if isinstance(answer, Awaitable) else answer


class Two:
    """A storage node with one namespace, and a DPU that is attached to it."""

    def __init__(self) -> None:
        self.storage, self.dpu = Emulator(attach_s=0), Emulator(attach_s=0)
        self.place = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(free_port())}

    async def start(self) -> None:
        await call(self.storage, "bdev_malloc_create", name="m", num_blocks=2048, block_size=512)
        await call(self.storage, "nvmf_create_transport", trtype="TCP")
        await call(self.storage, "nvmf_create_subsystem", nqn=NQN, allow_any_host=True)
        await call(self.storage, "nvmf_subsystem_add_ns", nqn=NQN, namespace={"bdev_name": "m"})
        await call(self.storage, "nvmf_subsystem_add_listener", nqn=NQN, listen_address=self.place)
        await self.attach("a")

    async def attach(self, name: str) -> None:
        await call(
            self.dpu,
            "bdev_nvme_attach_controller",
            name=name,
            subnqn=NQN,
            hostnqn=f"nqn.2024-01.io.example:host-{name}",
            ctrlr_loss_timeout_sec=-1,
            reconnect_delay_sec=1,
            **self.place,
        )

    @property
    def bdev(self) -> Bdev:
        found = self.dpu.bdevs.find("an1")
        assert found is not None
        return found

    async def state_is(self, wanted: str) -> None:
        async def look() -> bool | None:
            (path,) = self.dpu.initiator.controllers["a"].paths
            return True if path.state == wanted else None

        await wait_until(look, f"path {wanted}", timeout_s=10, longest_s=0.02)


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    made = Two()
    await made.start()
    yield made
    made.dpu.close()
    made.storage.close()


@pytest.mark.parametrize("kind", ["listener", "path"])
async def test_io_waits_while_the_network_is_cut(two: Two, kind: str) -> None:
    where = two.storage if kind == "listener" else two.dpu
    await two.bdev.io.write(0, b"before" + bytes(506))
    rule = {"action": "cut", "kind": kind, "traddr": "127.0.0.1", "trsvcid": two.place["trsvcid"]}
    await call(where, "emulator_set_faults", rules=[rule])
    await two.state_is("reconnect_is_delayed")
    writing = asyncio.create_task(two.bdev.io.write(0, b"during" + bytes(506)))
    with pytest.raises(RpcError, match="Input/output error"):
        await two.attach("b")
    assert not writing.done()
    malloc = two.storage.bdevs.find("m")
    assert malloc is not None
    assert (await malloc.io.read(0, 512))[:6] == b"before"
    answer = await call(where, "emulator_set_faults")
    assert answer["rules"][0]["hits"] >= 2  # the connection that dropped, and the ones that were refused
    await call(where, "emulator_set_faults", rules=[])
    await asyncio.wait_for(writing, 10)
    assert (await malloc.io.read(0, 512))[:6] == b"during"
    await two.state_is("enabled")


async def test_another_address_is_not_cut(two: Two) -> None:
    rules = [
        {"action": "cut", "kind": "listener", "traddr": "127.0.0.2"},
        {"action": "cut", "kind": "listener", "trsvcid": "1"},
        {"action": "cut", "kind": "path", "traddr": "127.0.0.1"},
    ]
    await call(two.storage, "emulator_set_faults", rules=rules)
    await two.bdev.io.write(0, bytes(512))
    await two.attach("b")
    answer = await call(two.storage, "emulator_set_faults")
    assert [rule["hits"] for rule in answer["rules"]] == [0, 0, 0]
