"""Rules about calls and bdevs do what they say, and a bad one is refused by name."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spdk_emulator.processes import running

from dpucsi.errors import UnavailableError
from dpucsi.nvme_tcp.status import UNRECOVERED_READ_ERROR, WRITE_FAULT, NvmeError
from spdk_emulator import methods
from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc import table
from spdk_emulator.rpc.errors import RpcError
from spdk_emulator.rpc.params import Json

assert methods.__all__  # importing them fills the table
CREATE: dict[str, Json] = {"name": "m", "num_blocks": 2048, "block_size": 512}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    made = Emulator(attach_s=0)
    yield made
    made.close()


@pytest.fixture
def bdev(emulator: Emulator) -> Bdev:
    table.call(emulator, "bdev_malloc_create", CREATE)
    found = emulator.bdevs.find("m")
    assert found is not None
    return found


def set_rules(emulator: Emulator, *rules: dict[str, Any]) -> list[dict[str, Any]]:
    answer: Any = table.call(emulator, "emulator_set_faults", {"rules": list(rules)})
    return list(answer["rules"])


def hits(emulator: Emulator) -> list[int]:
    answer: Any = table.call(emulator, "emulator_set_faults", None)
    return [rule["hits"] for rule in answer["rules"]]


async def call(emulator: Emulator, method: str, params: Any = None) -> Any:
    answer = table.call(emulator, method, params)
    return await answer if isinstance(answer, Awaitable) else answer


async def settle() -> None:
    """Every task that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nothing_is_different_without_rules(emulator: Emulator, bdev: Bdev) -> None:
    assert set_rules(emulator) == []
    assert bdev.counted.gate is None
    assert table.call(emulator, "spdk_get_version", None) != set_rules(emulator)
    assert "emulator_set_faults" not in table.names()


async def test_the_nth_call_fails(emulator: Emulator) -> None:
    rule = {"method": "bdev_malloc_create", "action": "fail", "code": -12, "message": "No way", "nth": 2}
    assert set_rules(emulator, rule) == [{**rule, "hits": 0}]
    assert await call(emulator, "bdev_malloc_create", {**CREATE, "name": "one"}) == "one"
    with pytest.raises(RpcError, match="No way") as refused:
        await call(emulator, "bdev_malloc_create", {**CREATE, "name": "two"})
    assert refused.value.code == -12
    assert emulator.bdevs.find("two") is None
    assert await call(emulator, "bdev_malloc_create", {**CREATE, "name": "three"}) == "three"
    assert hits(emulator) == [1]


async def test_a_call_fails_after_its_effect(emulator: Emulator) -> None:
    set_rules(emulator, {"method": "*", "action": "fail", "code": -5, "message": "lost", "when": "after"})
    with pytest.raises(RpcError, match="lost"):
        await call(emulator, "bdev_malloc_create", CREATE)
    assert emulator.bdevs.find("m") is not None


async def test_answers_are_held_until_they_are_released(emulator: Emulator) -> None:
    hold = {"method": "bdev_malloc_create", "action": "hold"}
    set_rules(emulator, hold)
    held = [asyncio.ensure_future(call(emulator, "bdev_malloc_create", {**CREATE, "name": name})) for name in "ab"]
    await settle()
    assert not any(one.done() for one in held)
    assert {bdev.name for bdev in emulator.bdevs} == {"a", "b"}
    other = {"method": "bdev_malloc_delete", "action": "drop"}
    assert [rule["hits"] for rule in set_rules(emulator, other, hold)] == [0, 2]  # what stays in the set goes on
    await settle()
    assert not any(one.done() for one in held)
    set_rules(emulator, other)
    assert await asyncio.gather(*held) == ["a", "b"]


async def test_a_refusal_is_held_too(emulator: Emulator) -> None:
    set_rules(emulator, {"method": "bdev_malloc_delete", "action": "hold"})
    held = asyncio.ensure_future(call(emulator, "bdev_malloc_delete", {"name": "nope"}))
    await settle()
    assert not held.done()
    set_rules(emulator)
    with pytest.raises(RpcError, match="No such device"):
        await held


async def test_a_call_comes_late(emulator: Emulator) -> None:
    set_rules(emulator, {"method": "bdev_malloc_create", "action": "delay", "seconds": 0.05, "nth": 1})
    late = asyncio.ensure_future(call(emulator, "bdev_malloc_create", CREATE))
    await settle()
    assert emulator.bdevs.find("m") is None
    started = asyncio.get_running_loop().time()
    assert await late == "m"
    assert asyncio.get_running_loop().time() - started > 0.03


@pytest.mark.parametrize(("when", "has_effect"), [("before", False), ("after", True)])
async def test_an_answer_is_dropped(emulator: Emulator, when: str, has_effect: bool) -> None:
    set_rules(emulator, {"method": "bdev_malloc_create", "action": "drop", "when": when})
    lost = asyncio.ensure_future(call(emulator, "bdev_malloc_create", CREATE))
    await settle()
    set_rules(emulator)
    await settle()
    assert not lost.done()
    assert (emulator.bdevs.find("m") is not None) is has_effect
    lost.cancel()


async def test_all_io_of_a_bdev_waits(emulator: Emulator, bdev: Bdev) -> None:
    set_rules(emulator, {"bdev": bdev.uuid, "action": "stall", "operations": ["write"]})
    writing = asyncio.ensure_future(bdev.io.write(0, b"x" * 512))
    assert await bdev.io.read(0, 512) == bytes(512)
    await settle()
    assert not writing.done()
    assert await bdev.io.read(0, 512) == bytes(512)
    assert hits(emulator) == [1]
    set_rules(emulator)
    await writing
    assert bdev.counted.gate is None
    assert await bdev.io.read(0, 512) == b"x" * 512


async def test_io_that_waits_fails_with_its_bdev(emulator: Emulator, bdev: Bdev) -> None:
    set_rules(emulator, {"bdev": "m", "action": "stall"})
    reading = asyncio.ensure_future(bdev.io.read(0, 512))
    await settle()
    await call(emulator, "bdev_malloc_delete", {"name": "m"})
    with pytest.raises(NvmeError):
        await reading


async def test_media_errors_on_some_blocks(emulator: Emulator, bdev: Bdev) -> None:
    set_rules(emulator, {"bdev": "m", "action": "media_error", "first_lba": 8, "num_blocks": 2})
    await bdev.io.write(0, bytes(8 * 512))
    await bdev.io.read(10 * 512, 512)
    await bdev.io.unmap(8 * 512, 512)
    for failing, status in (
        (bdev.io.read(9 * 512, 4096), UNRECOVERED_READ_ERROR),
        (bdev.io.write(4096, bytes(512)), WRITE_FAULT),
        (bdev.io.write_zeroes(0, 9 * 512), WRITE_FAULT),
    ):
        with pytest.raises(NvmeError) as failed:
            await failing
        assert failed.value.status == status
        assert failed.value.dnr
    assert hits(emulator) == [3]
    assert bdev.counted.stat.errors == {"failed": 3}


async def test_a_bdev_made_later_has_its_rule(emulator: Emulator) -> None:
    set_rules(emulator, {"bdev": "m", "action": "media_error", "nth": 2})
    await call(emulator, "bdev_malloc_create", CREATE)
    found = emulator.bdevs.find("m")
    assert found is not None
    await found.io.read(0, 512)
    with pytest.raises(NvmeError):
        await found.io.read(0, 512)
    await found.io.read(0, 512)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], "the parameters must be an object"),
        ({"rule": []}, "the parameters.rule is not known here; known: rules"),
        ({"rules": {}}, "rules must be a list of objects"),
        ({"rules": [7]}, r"rules\[0\] must be an object"),
        ({"rules": [{}]}, r"rules\[0\].action must be one of fail, delay"),
        ({"rules": [{"action": "drop"}]}, r"rules\[0\].method must be there, or bdev, and not both"),
        ({"rules": [{"action": "drop", "method": "m", "bdev": "b"}]}, r"rules\[0\].method must be there, or bdev"),
        ({"rules": [{"action": "stall", "method": "m"}]}, r"rules\[0\].action must be one of fail, delay, drop, hold"),
        ({"rules": [{"action": "crash", "bdev": "b"}]}, r"rules\[0\].action must be one of stall, delay, media_error"),
        ({"rules": [{"action": "fail", "method": "m", "message": "x"}]}, r"rules\[0\].code must be a whole number"),
        ({"rules": [{"action": "fail", "method": "m", "code": 1}]}, r"rules\[0\].message must be a text"),
        ({"rules": [{"action": "delay", "method": "m"}]}, r"rules\[0\].seconds must be a number from 0"),
        ({"rules": [{"action": "delay", "method": "m", "seconds": -1}]}, r"rules\[0\].seconds must be a number"),
        (
            {"rules": [{"action": "drop", "method": "m", "nth": 0}]},
            r"rules\[0\].nth must be a whole number of at least 1",
        ),
        ({"rules": [{"action": "drop", "method": "m", "nth": True}]}, r"rules\[0\].nth must be a whole number"),
        (
            {"rules": [{"action": "drop", "method": "m", "when": "now"}]},
            r"rules\[0\].when must be one of before, after",
        ),
        ({"rules": [{"action": "drop", "method": "m", "code": 1}]}, r"rules\[0\].code is not known here"),
        ({"rules": [{"action": "stall", "bdev": ""}]}, r"rules\[0\].bdev must be a text"),
        (
            {"rules": [{"action": "stall", "bdev": "b", "operations": []}]},
            r"rules\[0\].operations must be a list of read",
        ),
        (
            {"rules": [{"action": "stall", "bdev": "b", "first_lba": 1}]},
            r"rules\[0\].num_blocks must be a whole number",
        ),
        ({"rules": [{"action": "cut"}]}, r"rules\[0\].kind must be one of listener, path"),
        ({"rules": [{"action": "cut", "kind": "path", "method": "m"}]}, r"rules\[0\].method is not known here"),
    ],
)
async def test_a_bad_rule_is_refused_by_name(emulator: Emulator, params: Any, message: str) -> None:
    kept = {"method": "bdev_malloc_create", "action": "drop"}
    set_rules(emulator, kept)
    with pytest.raises(RpcError, match=f"^{message}") as refused:
        table.call(emulator, "emulator_set_faults", params)
    assert refused.value.code == -32602
    assert hits(emulator) == [0]


@pytest.mark.parametrize(("when", "is_there"), [("before", False), ("after", True)])
async def test_the_process_dies_in_a_call(tmp_path: Path, when: str, is_there: bool) -> None:
    """As by kill -9: the lvol of an answer that was lost is there again, and no other."""
    with (tmp_path / "a.img").open("wb") as file:
        file.truncate(64 << 20)
    base = {"name": "aio0", "filename": str(tmp_path / "a.img"), "block_size": 4096}
    async with running(tmp_path, "storage") as process:
        await process.call("bdev_aio_create", **base)
        await process.call("bdev_lvol_create_lvstore", bdev_name="aio0", lvs_name="lvs0", cluster_sz=1 << 20)
        await process.call(
            "emulator_set_faults", rules=[{"method": "bdev_lvol_create", "action": "crash", "when": when}]
        )
        with pytest.raises(UnavailableError):
            await process.call("bdev_lvol_create", lvol_name="v", size_in_mib=4, lvs_name="lvs0")
        assert await process.end() == -signal.SIGKILL
        await process.start()
        await process.call("bdev_aio_create", **base)
        found = await process.call("bdev_lvol_get_lvols")
    assert [lvol["name"] for lvol in found] == ["v"] * is_there
