"""Calls an emulator as a recorded SPDK was called, and compares; uuids and ports may be others, but always the same."""

import asyncio
import json
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from dpucsi.testing.ports import free_port
from spdk_emulator import methods
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc import table
from spdk_emulator.rpc.errors import RpcError

RECORDED = Path(__file__).parent / "recorded"
READS = re.compile(r"_get_")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PORT = re.compile(r'("trsvcid": ")(\d{4})"')
SETTLE_S = 6.0  # a read is repeated that long: reconnecting takes the recorded 2 s
assert methods.__all__  # importing them fills the table


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


class Replay:
    """`folder` stands for the two folders of the recording; `emulators` for its two targets."""

    def __init__(self, emulators: dict[str, Emulator], folder: Path) -> None:
        self._emulators = emulators
        self._folder = folder
        self._ours: dict[str, str] = {}
        self._ports: dict[str, str] = {}

    async def call(self, target: str, method: str, params: Any) -> dict[str, Any]:
        try:
            answer = table.call(self._emulators[target], method, params or None)
            return {"result": await answer if isinstance(answer, Awaitable) else answer}
        except RpcError as refused:
            return {"error": {"code": refused.code, "message": refused.message}}

    async def differences(self, entries: list[dict[str, Any]]) -> list[str]:
        found = []
        for place, entry in enumerate(entries):
            got, want = await self._one(entry)
            if got != want:
                found.append(f"{place} {entry['method']} {entry.get('note', '')}\n want {want}\n got  {got}")
        return found

    async def _one(self, entry: dict[str, Any]) -> tuple[Any, Any]:
        params = json.loads(self._here(json.dumps(entry["params"])))
        want = {key: entry[key] for key in ("result", "error") if key in entry}
        await self._undo(entry, params)
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while True:
            got = await self.call(entry["target"], entry["method"], params)
            self._learn(want, got)
            here = json.loads(self._here(json.dumps(want)))
            late = asyncio.get_running_loop().time() > deadline
            if got == here or late or not READS.search(entry["method"]):
                return got, here
            await asyncio.sleep(0.02)

    async def _undo(self, entry: dict[str, Any], params: Any) -> None:
        """Between two trials the recording took away what the first had made, without writing it down."""
        if entry["method"] == "nvmf_create_subsystem" and "result" in entry:
            await self.call(entry["target"], "nvmf_delete_subsystem", {"nqn": params["nqn"]})
        if entry["method"] == "nvmf_subsystem_add_ns" and "result" in entry:
            place = {"nqn": params["nqn"], "nsid": entry["result"]}
            await self.call(entry["target"], "nvmf_subsystem_remove_ns", place)

    def _here(self, text: str) -> str:
        for folder in ("/var/lib/lab", "/tmp/lab"):
            text = text.replace(folder, str(self._folder))
        for theirs, ours in self._ours.items():
            text = text.replace(theirs, ours).replace(_digits(theirs), _digits(ours))
        return PORT.sub(lambda found: f'{found[1]}{self._port(found[2])}"', text)

    def _port(self, theirs: str) -> str:
        if theirs not in self._ports:
            self._ports[theirs] = str(free_port())
        return self._ports[theirs]

    def _learn(self, want: Any, got: Any) -> None:
        if isinstance(want, dict) and isinstance(got, dict):
            for key in want.keys() & got.keys():
                self._learn(want[key], got[key])
        elif isinstance(want, list) and isinstance(got, list):
            for one, other in zip(want, got, strict=False):
                self._learn(one, other)
        elif isinstance(want, str) and isinstance(got, str) and UUID.fullmatch(want) and UUID.fullmatch(got):
            self._ours.setdefault(want, got)


def _digits(uuid: str) -> str:
    return uuid.replace("-", "").upper()
