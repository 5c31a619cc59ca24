"""Who is connected."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Host:
    """As its Connect command says. `kato`: milliseconds without a Keep Alive command, 0 for any time."""

    hostnqn: str
    hostid: UUID
    kato: int
