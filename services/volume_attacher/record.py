"""One attachment: what is wanted, where, and how far it came. Records are written before anything is done."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from uuid import UUID

from dpucsi.errors import FailedPreconditionError
from dpucsi.model import AttachSpec, HostFunction, TargetPath
from volume_attacher.slots import Placement, Slot


class State(StrEnum):
    """Where an attachment stands.

    ATTACHED is never on the disk: it is ATTACHING that was seen done by this process, so attaching costs one commit,
    and a restarted process looks for itself instead of believing a record.
    """

    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"
    UNCONFIRMED = "unconfirmed"


WANTED = (State.ATTACHING, State.ATTACHED)


@dataclass(frozen=True)
class Record:
    """One attachment. `boot_id` is the Host's boot that attached it, or that detached it."""

    spec: AttachSpec
    placement: Placement
    slot: Slot
    state: State
    boot_id: str

    def to_bytes(self) -> bytes:
        """As it lies on the disk."""
        state = State.ATTACHING if self.state is State.ATTACHED else self.state
        spec = {**asdict(self.spec), "uuid": str(self.spec.uuid)}
        slot = {"function": str(self.slot.function), "nsid": self.slot.nsid}
        fields = {"spec": spec, "placement": self.placement, "slot": slot, "state": state, "boot_id": self.boot_id}
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "Record":
        """The opposite of `to_bytes`; raises FailedPreconditionError for anything else."""
        try:
            fields = json.loads(value)
            spec = fields["spec"]
            paths = tuple(TargetPath(**path) for path in spec["paths"])
            return cls(
                spec=AttachSpec(**{**spec, "uuid": UUID(spec["uuid"]), "paths": paths}),
                placement=Placement(fields["placement"]),
                slot=Slot(HostFunction.parse(fields["slot"]["function"]), int(fields["slot"]["nsid"])),
                state=State(fields["state"]),
                boot_id=fields["boot_id"],
            )
        except (ValueError, KeyError, TypeError) as wrong:
            raise FailedPreconditionError(
                f"a record in the state file is not one of this release ({wrong}): {value[:200]!r}; run the release "
                "that wrote it"
            ) from wrong
