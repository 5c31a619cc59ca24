"""Samples and what is said about them. No mean: one pause of a shared machine would move it."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Spread:
    """Of n samples."""

    n: int
    median: float
    p90: float
    least: float
    most: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """p90 by nearest rank."""
        ordered = sorted(samples)
        return cls(
            n=len(ordered),
            median=statistics.median(ordered),
            p90=ordered[math.ceil(0.9 * len(ordered)) - 1],
            least=ordered[0],
            most=ordered[-1],
        )

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.p90:.1f}; {self.least:.1f}-{self.most:.1f})"

    def as_json(self) -> dict[str, float]:
        """Two digits are all that the clock and the machine deserve."""
        return {key: round(value, 2) for key, value in asdict(self).items()}


def added(left: Sequence[Sequence[float]]) -> list[float]:
    """Sums of the samples taken in the same round of the benchmark."""
    return [sum(parts) for parts in zip(*left, strict=True)]


def differences(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """Of samples taken right after each other, so that a slow minute of the machine is in both."""
    return [one - other for one, other in zip(left, right, strict=True)]
