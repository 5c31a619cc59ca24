"""What a call, or a look at the OPI server, asks for in view of a record. Pure: no I/O, one table each."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from uuid import UUID

from dpucsi.errors import AlreadyExistsError, FailedPreconditionError
from dpucsi.model import AttachSpec
from volume_attacher.record import WANTED, Record, State
from volume_attacher.slots import Placement, Slot


class Step(Enum):
    """What the reconciler does about one record."""

    NOTHING = auto()
    BRING_UP = auto()
    TAKE_DOWN = auto()


@dataclass(frozen=True)
class Observed:
    """What the OPI server has: volumes with a remote controller, and who is in which slot."""

    remote_controllers: frozenset[UUID] = frozenset()
    namespaces: dict[Slot, UUID] = field(default_factory=dict)


def plan(record: Record, observed: Observed, paths_missing: bool = False) -> Step:
    """Drives what is towards what is wanted. `paths_missing`: a path of it could not be connected so far."""
    in_place = observed.namespaces.get(record.slot) == record.spec.uuid
    connected = record.spec.uuid in observed.remote_controllers
    if record.state is State.ATTACHING or (
        record.state is State.ATTACHED and (paths_missing or not in_place or not connected)
    ):
        return Step.BRING_UP
    if record.state is State.DETACHING or (record.state is State.UNCONFIRMED and (in_place or connected)):
        return Step.TAKE_DOWN
    return Step.NOTHING


def plan_attach(record: Record, spec: AttachSpec, placement: Placement, boot_id: str) -> Record:
    """The record with which an existing attachment goes on; equal to `record` when nothing has to be written.

    Raises FailedPreconditionError or AlreadyExistsError where the call cannot be a repetition of the one recorded.
    """
    uuid = spec.uuid
    if record.state not in WANTED:
        raise FailedPreconditionError(
            f"volume {uuid} is {record.state} at {record.slot}, and its former disk is not confirmed gone from the "
            "Host; Detach until it is OK and Release it, then attach again"
        )
    if spec.hostnqn != record.spec.hostnqn:
        raise FailedPreconditionError(
            f"volume {uuid} is attached as {record.spec.hostnqn}, an earlier publication than {spec.hostnqn}; unmount, "
            "Detach and Release it, then attach again"
        )
    differences = _differences(record, spec, placement)
    if differences:
        raise AlreadyExistsError(f"volume {uuid} is attached already with {differences}; detach it first")
    return replace(record, spec=replace(record.spec, size_bytes=spec.size_bytes), boot_id=boot_id)


def plan_detach(record: Record, boot_id: str) -> Record | None:
    """The record to write before anything is removed; None: all of it is gone already."""
    if record.state is State.UNCONFIRMED:
        return None
    return replace(record, state=State.DETACHING, boot_id=boot_id)


def check_release(record: Record) -> None:
    """Raises FailedPreconditionError unless the slot waits for just this word."""
    if record.state is not State.UNCONFIRMED:
        raise FailedPreconditionError(
            f"volume {record.spec.uuid} is {record.state} at {record.slot}; Detach has to be OK before Release"
        )


def _differences(record: Record, spec: AttachSpec, placement: Placement) -> str:
    """Size may have grown since (ControllerExpandVolume, then published again); all else names the attachment."""
    compared = {
        "subnqn": (record.spec.subnqn, spec.subnqn),
        "paths": (sorted(record.spec.paths), sorted(spec.paths)),
        "placement": (str(record.placement), str(placement)),
    }
    found = [f"{name} {had}, wanted {wanted}" for name, (had, wanted) in compared.items() if had != wanted]
    if spec.size_bytes < record.spec.size_bytes:
        found.append(f"size {record.spec.size_bytes} bytes, wanted {spec.size_bytes}")
    return "; ".join(found)
