"""Which SPDK process answers: after a restart everything that it was told is lost, so the difference matters.

The pid alone does not tell: in a container every SPDK has the same one. SPDK also says for how long it has been
running, which a new process cannot have been for longer than the time since the old one was last heard.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Instance:
    """One SPDK process as one client knows it; equal means: the same process. `number` counts from 1."""

    number: int
    pid: int


@dataclass(frozen=True)
class Sighting:
    """What SPDK said about itself. `age_s`: seconds since its start, None where it does not say."""

    pid: int
    age_s: float | None


def is_same_process(before: Sighting, silence_s: float, now: Sighting) -> bool:
    """Whether `now` is the process that was seen as `before` and then not heard for `silence_s` seconds.

    `before` is as of the last time it was heard. The same process is older by the silence, another one is at most as
    old as the silence; the border is put half-way, because clocks drift. Unknown counts as another one: a replay too
    many does no harm.
    """
    if before.pid != now.pid or before.age_s is None or now.age_s is None:
        return False
    return now.age_s >= silence_s + before.age_s / 2


class Lineage:
    """Tells the processes behind one client apart. Times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self.instance: Instance | None = None  # the process that was seen last
        self._seen: Sighting | None = None
        self._seen_at = 0.0
        self._heard_at = 0.0

    def heard(self, at: float) -> None:
        """The process was alive then."""
        self._heard_at = max(self._heard_at, at)

    def see(self, now: Sighting, at: float) -> Instance:
        """The instance of the process that says `now` of itself."""
        if self.instance is None or self._seen is None or not self._continues(self._seen, now, at):
            self.instance = Instance(self.instance.number + 1 if self.instance else 1, now.pid)
        self._seen, self._seen_at, self._heard_at = now, at, at
        return self.instance

    def _continues(self, seen: Sighting, now: Sighting, at: float) -> bool:
        age_s = None if seen.age_s is None else seen.age_s + self._heard_at - self._seen_at
        return is_same_process(replace(seen, age_s=age_s), at - self._heard_at, now)
