"""A small measurement of one file: sequential and random, past the page cache, a few seconds each.

No benchmark of a disk: one Python process asks, so a fast disk would wait for it. Good for seeing what an emulated one
gives, and for seeing it change.
"""

import mmap
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
SEQUENTIAL_BYTES = 512 << 10
RANDOM_BYTES = 4096


@dataclass(frozen=True)
class Figure:
    """What one pattern reached; latencies in milliseconds."""

    pattern: str
    mib_per_s: float
    iops: float
    median_ms: float
    p99_ms: float


@dataclass(frozen=True)
class _Pattern:
    name: str
    act: Callable[[int, list[mmap.mmap], int], int]
    size: int
    at_once: int
    offsets: Callable[[int], Iterator[int]]


def measure(path: Path, file_bytes: int = 64 * MIB, seconds: float = 2.0) -> list[Figure]:
    """Writes and reads `path`, which is made, and removed afterwards. Blocks for four times `seconds`."""
    patterns = [
        _Pattern("sequential write, 512 KiB", os.pwritev, SEQUENTIAL_BYTES, 2, _in_order),
        _Pattern("sequential read, 512 KiB", os.preadv, SEQUENTIAL_BYTES, 2, _in_order),
        _Pattern("random write, 4 KiB, 8 at once", os.pwritev, RANDOM_BYTES, 8, _anywhere),
        _Pattern("random read, 4 KiB, 8 at once", os.preadv, RANDOM_BYTES, 8, _anywhere),
    ]
    with path.open("wb") as made:
        made.truncate(file_bytes)
    file = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        return [_run(pattern, file, pattern.offsets(file_bytes), seconds) for pattern in patterns]
    finally:
        os.close(file)
        path.unlink()


def _run(pattern: _Pattern, file: int, offsets: Iterator[int], seconds: float) -> Figure:
    lock, times, failures = threading.Lock(), list[float](), list[OSError]()
    began = time.monotonic()

    def work() -> None:
        with mmap.mmap(-1, pattern.size) as buffer:
            buffer.write(os.urandom(pattern.size))
            while time.monotonic() < began + seconds and not failures:
                with lock:
                    offset = next(offsets)
                asked = time.perf_counter()
                try:
                    pattern.act(file, [buffer], offset)
                except OSError as failed:
                    failures.append(failed)
                    return
                times.append((time.perf_counter() - asked) * 1e3)

    workers = [threading.Thread(target=work) for _ in range(pattern.at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    passed = time.monotonic() - began
    ordered = sorted(times)
    return Figure(
        pattern.name,
        len(times) * pattern.size / MIB / passed,
        len(times) / passed,
        statistics.median(ordered),
        ordered[len(ordered) * 99 // 100],
    )


def _in_order(file_bytes: int) -> Iterator[int]:
    while True:
        yield from range(0, file_bytes, SEQUENTIAL_BYTES)


def _anywhere(file_bytes: int) -> Iterator[int]:
    choose = random.Random(0)
    while True:
        yield choose.randrange(file_bytes // RANDOM_BYTES) * RANDOM_BYTES
