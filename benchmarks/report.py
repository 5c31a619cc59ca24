"""The figures as tables, and as JSON with every sample."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Spread, added, differences
from benchmarks.measure import CHANGES, OURS, SAME, WAYS, Measured
from benchmarks.operations import ATTACH, BACK, CREATE, FORWARD, PUBLISH
from dpucsi.testing.hops import HOPS

TOTALS = {"create + publish + attach": FORWARD, "everything back": BACK}
# Of the issue and design section 10: the most rounds, and the most milliseconds beyond the same bare calls.
ROUNDS_WANTED = {CREATE: 3, PUBLISH: 3, "create + publish + attach": 8, "everything back": 6}
BEYOND_WANTED = {ATTACH: 10.0}


def samples(measured: Measured, way: str, line: str) -> list[float]:
    """Of one operation, or the sums of one of the totals."""
    times = measured.times[way]
    return added([times[name] for name in TOTALS[line]]) if line in TOTALS else times[line]


def rounds(measured: Measured, line: str) -> list[int]:
    """Of every recording."""
    of = [measured.recorded[name].rounds for name in TOTALS.get(line, (line,))]
    return [sum(parts) for parts in zip(*of, strict=True)]


def calls(measured: Measured, line: str) -> int:
    """JSON-RPC calls of the usual recording."""
    return sum(len(measured.recorded[name].calls) for name in TOTALS.get(line, (line,)))


def lines(measured: Measured) -> list[str]:
    """What gets a line: each operation, and a total after each direction."""
    forward, back = TOTALS
    return [*FORWARD, forward, *BACK, back] if measured.times else []


def show(measured: Measured) -> None:
    """Prints everything."""
    console = Console(width=160, highlight=False)
    console.print(f"\n[bold]{measured.title}[/bold]")
    console.print(", ".join(f"{key} {value}" for key, value in measured.machine.items()))
    console.print(f"load after {measured.load_after}")
    console.print(_operations(measured))
    console.print(_hops(measured))
    console.print(_calls(measured))
    for way, times in measured.at_once_times.items():
        console.print(f"{measured.at_once} CreateVolume at once, {way}: {Spread.of(times)} ms, n={len(times)}")
    if measured.host_times:
        console.print(_host(measured))
    console.print(_usage(measured))


def _operations(measured: Measured) -> Table:
    count = len(measured.times[OURS][CREATE])
    recordings = len(measured.recorded[CREATE].rounds)
    table = Table(title=f"milliseconds: median (p90; least-most) of {count}; rounds of {recordings} recordings")
    heads = ("operation", "calls", "rounds", *WAYS, "beyond the same calls", "beyond the changes")
    for head in heads:
        table.add_column(head, justify="left" if head == "operation" else "right")
    for line in lines(measured):
        spread = {way: samples(measured, way, line) for way in WAYS}
        seen = rounds(measured, line)
        wanted, beyond_wanted = ROUNDS_WANTED.get(line), BEYOND_WANTED.get(line)
        numbers = f"{min(seen)}-{max(seen)}" if min(seen) != max(seen) else str(min(seen))
        beyond = Spread.of(differences(spread[OURS], spread[SAME]))
        table.add_row(
            line,
            str(calls(measured, line)),
            numbers + (f" (<= {wanted})" if wanted else ""),
            *(str(Spread.of(spread[way])) for way in WAYS),
            f"{beyond.median:+.1f}" + (f" (<= {beyond_wanted:.0f})" if beyond_wanted else ""),
            f"{Spread.of(differences(spread[OURS], spread[CHANGES])).median:+.1f}",
            end_section=line in TOTALS,
        )
    return table


def _hops(measured: Measured) -> Table:
    table = Table(title="milliseconds inside each service, what lies behind it included: median")
    table.add_column("operation")
    for head in ("caller", *HOPS):
        table.add_column(head, justify="right")
    for name, hops in measured.hops.items():
        cells = [f"{Spread.of(hops[hop]).median:.1f}" if hop in hops else "" for hop in HOPS]
        table.add_row(name, f"{Spread.of(measured.times[OURS][name]).median:.1f}", *cells)
    return table


def _calls(measured: Measured) -> Table:
    table = Table(title="JSON-RPC calls, by round")
    for head in ("operation", "round", "calls"):
        table.add_column(head)
    for name, recorded in measured.recorded.items():
        numbers = sorted({number for number, _, _ in recorded.calls})
        for number in numbers:
            sent = [f"{spdk}:{method}" for of, spdk, method in recorded.calls if of == number]
            table.add_row(name if number == 1 else "", str(number), ", ".join(sent), end_section=number == numbers[-1])
    return table


def _host(measured: Measured) -> Table:
    table = Table(title="with a Host disk (ext4), milliseconds: median (p90; least-most)")
    for head in ("operation", "ms"):
        table.add_column(head)
    for name, times in measured.host_times.items():
        table.add_row(name, str(Spread.of(times)))
    return table


def _usage(measured: Measured) -> Table:
    table = Table(title="resident memory and CPU at rest: after the start | after all of the above")
    for head in ("process", "RSS MiB", "private MiB", "CPU % of a core"):
        table.add_column(head, justify="left" if head == "process" else "right")
    for name, before in measured.usage_before.items():
        after = measured.usage_after[name]
        table.add_row(
            name,
            f"{before.rss_mib:.1f} | {after.rss_mib:.1f}",
            f"{before.private_mib:.1f} | {after.private_mib:.1f}",
            f"{before.cpu_percent:.2f} | {after.cpu_percent:.2f}",
        )
    return table


def as_json(measured: Measured) -> dict[str, Any]:
    """Everything that the tables say, and the samples behind it."""
    operations = {
        line: {
            "calls": calls(measured, line),
            "rounds": rounds(measured, line),
            **{way: Spread.of(samples(measured, way, line)).as_json() for way in WAYS},
            "beyond the same calls": Spread.of(
                differences(samples(measured, OURS, line), samples(measured, SAME, line))
            ).as_json(),
        }
        for line in lines(measured)
    }
    return {
        "title": measured.title,
        "machine": measured.machine,
        "load after": measured.load_after,
        "operations": operations,
        "calls by round": {name: recorded.calls for name, recorded in measured.recorded.items()},
        "samples": measured.times,
        "ms by service": measured.hops,
        "at once": {"count": measured.at_once, **measured.at_once_times},
        "with a Host disk": measured.host_times,
        "at rest after the start": {name: asdict(one) for name, one in measured.usage_before.items()},
        "at rest after the run": {name: asdict(one) for name, one in measured.usage_after.items()},
    }
