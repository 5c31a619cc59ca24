"""spdk-emulator-faults: every command against a running emulator."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spdk_emulator.processes import Process, running

from dpucsi.spdk.errors import SpdkError
from spdk_emulator.faults.command import main


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    async with running(tmp_path, "emulator") as one:
        yield one


async def run(process: Process, *argv: str) -> Any:
    """What the command prints as JSON."""
    await asyncio.to_thread(main, ["--rpc", f"unix://{process.socket}", "--json", *argv])


COMMANDS: list[tuple[list[str], dict[str, Any]]] = [
    (
        ["call", "bdev_nvme_attach_controller", "--fail", "-5", "Input/output error", "--nth", "2"],
        {
            "method": "bdev_nvme_attach_controller",
            "action": "fail",
            "code": -5,
            "message": "Input/output error",
            "nth": 2,
        },
    ),
    (["call", "*", "--drop", "--when", "before"], {"method": "*", "action": "drop", "when": "before"}),
    (
        ["call", "notify_get_types", "--delay", "0.5"],
        {"method": "notify_get_types", "action": "delay", "seconds": 0.5},
    ),
    (["call", "notify_get_types", "--hold"], {"method": "notify_get_types", "action": "hold"}),
    (["call", "notify_get_types", "--crash"], {"method": "notify_get_types", "action": "crash"}),
    (
        ["io", "lvs0/vol", "--media-error", "2048", "8", "--operations", "read,write"],
        {
            "bdev": "lvs0/vol",
            "action": "media_error",
            "first_lba": 2048,
            "num_blocks": 8,
            "operations": ["read", "write"],
        },
    ),
    (["io", "b", "--stall", "--nth", "1"], {"bdev": "b", "action": "stall", "nth": 1}),
    (["io", "b", "--delay", "1"], {"bdev": "b", "action": "delay", "seconds": 1.0}),
    (
        ["cut", "listener", "--traddr", "192.0.2.1", "--trsvcid", "4420"],
        {"action": "cut", "kind": "listener", "traddr": "192.0.2.1", "trsvcid": "4420"},
    ),
    (["cut", "path"], {"action": "cut", "kind": "path"}),
]


async def test_a_command_makes_its_rule(process: Process) -> None:
    await process.call("notify_get_types")  # connected: what follows holds nothing of it back
    for argv, rule in COMMANDS:
        await run(process, *argv)
        made = await process.call("emulator_set_faults")
        assert made == {"rules": [{**rule, "hits": 0}]}
        await run(process, "release")


async def test_rules_are_added_shown_and_released(
    process: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = [{"method": "notify_get_types", "action": "fail", "code": -1, "message": "no"}]
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    await run(process, "set", str(tmp_path / "rules.json"))
    with pytest.raises(SpdkError):
        await process.call("notify_get_types")
    await run(process, "io", "b", "--stall")
    capsys.readouterr()
    await asyncio.to_thread(main, ["--rpc", f"unix://{process.socket}", "show"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("  1      1 hits  {")
    assert second == '  2      0 hits  {"bdev": "b", "action": "stall"}'
    await run(process, "release", "1")
    assert [rule["action"] for rule in json.loads(capsys.readouterr().out)] == ["stall"]
    await process.call("notify_get_types")
    with pytest.raises(SystemExit, match="there is no rule 2, there are 1"):
        await run(process, "release", "2")
    await asyncio.to_thread(main, ["--rpc", f"unix://{process.socket}", "release"])
    assert capsys.readouterr().out == "no rules are set\n"


async def test_a_held_emulator_can_be_released(process: Process) -> None:
    """Nothing that the command asks for is held itself."""
    await run(process, "call", "*", "--hold")
    held = asyncio.create_task(process.call("notify_get_types"))
    await run(process, "release")
    assert await held


async def test_what_is_wrong_is_said(process: Process, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"rules\[0\].nth must be a whole number of at least 1"):
        await run(process, "call", "x", "--drop", "--nth", "0")
    with pytest.raises(SystemExit, match="is the emulator running"):
        await asyncio.to_thread(main, ["--rpc", f"unix://{tmp_path}/nothing.sock", "show"])


def test_help_names_every_action(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "spdk-emulator-faults --rpc unix:///run/dpu.sock call" in text
    for word in ("call", "io", "cut", "release", "set", "show"):
        assert f"    {word} " in text
