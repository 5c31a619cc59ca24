"""The measurement itself: with taps, at rest, without taps, many at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks.bare import Bare, Names, Script
from benchmarks.machine import Usage, describe, usage
from benchmarks.operations import BACK, CREATE, DELETE, FORWARD, ON_HOST, Life, timed, uuid_of
from benchmarks.tap import Call, Recording, Tap, round_numbers
from dpucsi.testing.hops import hop_times
from dpucsi.testing.lab import SERVICES, SPDKS, Lab

WARM_UP = 3  # volumes before anything counts: the first one makes the transport and the function's subsystem
RECORDED = 5  # volumes that go through the taps
AT_ONCE_ROUNDS = 5
OURS, SAME, CHANGES = "ours", "the same calls", "the changes alone"
WAYS = (OURS, SAME, CHANGES)


@dataclass(frozen=True)
class Recorded:
    """One operation as the taps saw it most often."""

    same: Script
    changes: Script
    calls: list[tuple[int, str, str]]  # round, SPDK, method
    rounds: list[int]  # of every recording


Sample = tuple[Script, list[Call]]  # one operation on one volume, as the taps saw it


@dataclass
class Measured:
    """Everything; times in milliseconds, samples in the order in which they were taken."""

    title: str
    machine: dict[str, object]
    load_after: list[float] = field(default_factory=list)
    recorded: dict[str, Recorded] = field(default_factory=dict)
    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # way, operation
    hops: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # operation, service
    at_once: int = 0
    at_once_times: dict[str, list[float]] = field(default_factory=dict)  # way
    host_times: dict[str, list[float]] = field(default_factory=dict)  # operation; where there is a Host disk
    usage_before: dict[str, Usage] = field(default_factory=dict)
    usage_after: dict[str, Usage] = field(default_factory=dict)


async def measure(lab: Lab, *, rounds: int, at_once: int, idle_s: float) -> Measured:
    """On a lab that is up. What it makes it takes back."""
    async with lab.spdk("dpu") as spdk:
        await spdk.call("spdk_get_version")
        title = f"{spdk.version}, driver {lab.driver}"
    title += " (real spdk_tgt)" if lab.spdk_tgt else " (emulator)"
    measured = Measured(title, describe(lab.root / "state"))
    measured.usage_before = usage(_pids(lab), idle_s)
    measured.recorded = await _record(lab)
    await _time(lab, measured, rounds)
    await _time_at_once(lab, measured, at_once)
    if lab.driver == "emulated":
        await _time_on_host(lab, measured, rounds)
    measured.usage_after = usage(_pids(lab), idle_s)
    measured.load_after = [float(load) for load in describe(lab.root / "state")["load"]]  # type: ignore[attr-defined]
    return measured


def _pids(lab: Lab) -> dict[str, int]:
    return {name: lab.processes[name].pid for name in (*SERVICES, *SPDKS)}


async def _record(lab: Lab) -> dict[str, Recorded]:
    recording = Recording()
    taps = [Tap(name, lab.root / "run" / f"tap-{name}.sock", lab.socket(name), recording) for name in SPDKS]
    for tap in taps:
        await tap.start()
    backends = lab.root / "backends.toml"
    direct = backends.read_text()
    backends.write_text(direct.replace(str(lab.socket("storage")), str(taps[0].path)))
    bridge = lab.processes["opi-bridge"]
    tapped = ["--spdk", f"unix://{taps[1].path}"]
    bridge.argv += tapped
    try:
        await _restart(lab)
        return await _recordings(lab, recording)
    finally:
        backends.write_text(direct)
        del bridge.argv[-len(tapped) :]
        await _restart(lab)
        for tap in taps:
            await tap.close()


async def _restart(lab: Lab) -> None:
    """All services, so that none waits out a connection's backoff."""
    for name in reversed(SERVICES):
        lab.processes[name].stop()
    for name in SERVICES:
        await lab.start(name)


async def _recordings(lab: Lab, recording: Recording) -> dict[str, Recorded]:
    volumes: list[dict[str, Sample]] = []
    life = Life(lab)
    await life.orchestrator.learn_node()
    for number in range(WARM_UP + RECORDED):
        claim = life.claim(f"tapped-{number}")
        volume: dict[str, Sample] = {}
        for name, act in life.acts(claim).items():
            if name in (*FORWARD, *BACK):
                await _quiet(recording)
                await act()
                calls = recording.cut()
                volume[name] = (Script.of(uuid_of(claim), calls), calls)
        if number >= WARM_UP:
            volumes.append(volume)
    await life.close()
    return _usual(volumes)


async def _quiet(recording: Recording) -> None:
    """What the services ask on their own, between operations, belongs to none."""
    while recording.calls:
        recording.calls.clear()
        await asyncio.sleep(0.05)


def _usual(volumes: Sequence[dict[str, Sample]]) -> dict[str, Recorded]:
    """Of the one volume whose operations went most often as they usually do: its scripts use each other's names."""
    usual = {
        name: Counter(volume[name][0].signature() for volume in volumes).most_common(1)[0][0] for name in volumes[0]
    }
    chosen = max(volumes, key=lambda volume: sum(volume[name][0].signature() == usual[name] for name in volume))
    found = {}
    for name, (script, calls) in chosen.items():
        numbers = round_numbers(calls)
        found[name] = Recorded(
            same=script,
            changes=Script.of_changes(script.uuid, calls),
            calls=[(number, call.spdk, call.method) for number, call in zip(numbers, calls, strict=True)],
            rounds=[max(round_numbers(volume[name][1]), default=0) for volume in volumes],
        )
    return found


async def _time(lab: Lab, measured: Measured, rounds: int) -> None:
    names = (*FORWARD, *BACK)
    measured.times = {way: {name: [] for name in names} for way in WAYS}
    life = Life(lab)
    bare = Bare({name: lab.socket(name) for name in SPDKS})
    await life.orchestrator.learn_node()
    for number in range(-WARM_UP, rounds):
        for way in WAYS if number % 2 else WAYS[::-1]:
            spent = await _ours(life, number, names) if way == OURS else _by_hand(bare, measured, way, names)
            if number >= 0:
                for name, ms in spent.items():
                    measured.times[way][name].append(ms)
    bare.close()
    await life.close()
    logged = hop_times(lab)
    for name in names:
        of_rounds = [logged[_request_id(name, number)] for number in range(rounds)]
        services = [service for service in SERVICES if any(service in one for one in of_rounds)]
        measured.hops[name] = {service: [one[service].ms for one in of_rounds] for service in services}


def _request_id(name: str, number: int) -> str:
    return f"bench-{''.join(filter(str.isalnum, name))}-{number}"


async def _ours(life: Life, number: int, names: Sequence[str]) -> dict[str, float]:
    acts = life.acts(life.claim(f"timed-{number}"))
    return {name: await timed(acts[name], _request_id(name, number)) for name in names}


def _by_hand(bare: Bare, measured: Measured, way: str, names: Sequence[str]) -> dict[str, float]:
    volume = Names(uuid4())
    scripts = {name: recorded.same if way == SAME else recorded.changes for name, recorded in measured.recorded.items()}
    return {name: bare.run([(scripts[name], volume)]) for name in names}


async def _time_at_once(lab: Lab, measured: Measured, count: int) -> None:
    measured.at_once = count
    measured.at_once_times = {OURS: [], SAME: []}
    create, delete = measured.recorded[CREATE].same, measured.recorded[DELETE].same
    life = Life(lab)
    bare = Bare({name: lab.socket(name) for name in SPDKS})
    for number in range(AT_ONCE_ROUNDS):
        acts = [life.acts(life.claim(f"at-once-{number}-{index}")) for index in range(count)]
        began = time.perf_counter()
        await asyncio.gather(*(act[CREATE]() for act in acts))
        measured.at_once_times[OURS].append((time.perf_counter() - began) * 1e3)
        await asyncio.gather(*(act[DELETE]() for act in acts))
        volumes = [Names(uuid4()) for _ in range(count)]
        measured.at_once_times[SAME].append(bare.run([(create, volume) for volume in volumes]))
        bare.run([(delete, volume) for volume in volumes])
    bare.close()
    await life.close()


async def _time_on_host(lab: Lab, measured: Measured, rounds: int) -> None:
    """With a disk that the Host sees: found, formatted (ext4), mounted, and all of it back."""
    measured.host_times = {name: [] for name in ON_HOST}
    life = Life(lab)
    await life.orchestrator.learn_node()
    for number in range(rounds):
        acts = life.acts(life.claim(f"host-{number}"))
        for name in ON_HOST:
            measured.host_times[name].append(await timed(acts[name], f"host-{number}-{name}"))
    await life.close()
