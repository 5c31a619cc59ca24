"""Which boot of the Host speaks to us. Pure.

A Host that booted anew holds no device of before, so its new boot id confirms every slot that waited for its word.
Boot ids have no order, and a call of the former boot may arrive late: boots that were followed by another are
remembered, and their calls refused.
"""

import json
from dataclasses import dataclass, replace

from dpucsi.errors import FailedPreconditionError
from volume_attacher.record import Record, State

REMEMBERED = 32  # a late call of a boot that lies further back than this many reboots is not to be expected


@dataclass(frozen=True)
class Boots:
    """The boot that spoke last, and those before it, the latest first."""

    current: str = ""
    past: tuple[str, ...] = ()

    def seen(self, boot_id: str) -> "Boots":
        """Itself for the current boot; else with `boot_id` as the current one. Refuses one of the past."""
        if boot_id == self.current:
            return self
        if boot_id in self.past:
            raise FailedPreconditionError(
                f"boot_id {boot_id} is of a boot before {self.current}: the Host has rebooted since; ask again from "
                "its present boot"
            )
        past = (self.current, *self.past) if self.current else ()
        return Boots(boot_id, past[:REMEMBERED])

    def to_bytes(self) -> bytes:
        """As it lies on the disk."""
        return json.dumps({"current": self.current, "past": self.past}).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "Boots":
        """The opposite of `to_bytes`."""
        fields = json.loads(value)
        return cls(fields["current"], tuple(fields["past"]))


def after_reboot(record: Record, boot_id: str) -> Record | None:
    """What becomes of a record when the Host has rebooted; None: its slot is free.

    A removal that is not done yet may be seen by the new boot too, so that one has to confirm it.
    """
    if record.state is State.UNCONFIRMED:
        return None
    if record.state is State.DETACHING:
        return replace(record, boot_id=boot_id)
    return record
