"""A volume whose record was lost with the state file, while the OPI server still shows it: found again, to be detached.

Detach must not answer OK to a Host whose disk is still there (truenas-csi issue 55).
"""

from uuid import UUID

from dpucsi import naming
from dpucsi.errors import FailedPreconditionError
from dpucsi.model import AttachSpec
from dpucsi.opi import remote
from volume_attacher.dpu import Dpu
from volume_attacher.observe import observe
from volume_attacher.record import Record, State
from volume_attacher.slots import Placement, Slot


async def find_lost(dpu: Dpu, uuid: UUID, boot_id: str) -> Record | None:
    """The record as it must have been, wanted gone; None where the OPI server has nothing of this volume."""
    observed = await observe(dpu)
    slot = next((slot for slot, there in observed.namespaces.items() if there == uuid), None)
    spec = await _spec(dpu, uuid) if uuid in observed.remote_controllers else AttachSpec(uuid, "", "", ())
    if slot is not None:
        return Record(spec, _placement(dpu, slot), _unclaimed(dpu, slot, uuid), State.DETACHING, boot_id)
    if uuid in observed.remote_controllers:
        await remote.disconnect(dpu.opi, spec)  # no disk of it is on any function: nothing for the Host to confirm
    return None


async def _spec(dpu: Dpu, uuid: UUID) -> AttachSpec:
    controller = await remote.remote_controller_name(dpu.opi, uuid)
    paths = await remote.list_paths(dpu.opi, controller)
    if not paths:
        return AttachSpec(uuid, "", "", ())
    fabrics = paths[0].fabrics
    return AttachSpec(uuid, fabrics.subnqn, fabrics.hostnqn, tuple(map(remote.target_path, paths)))


def _placement(dpu: Dpu, slot: Slot) -> Placement:
    return Placement.EXCLUSIVE if slot.function in dpu.functions.exclusive else Placement.SHARED


def _unclaimed(dpu: Dpu, slot: Slot, uuid: UUID) -> Slot:
    if slot in dpu.table.taken():
        raise FailedPreconditionError(
            f"volume {uuid} has no record, but is seen at {slot}, which is another volume's; remove its namespace "
            f"{naming.opi_namespace(uuid)} from the OPI server by hand once the Host has let go of it"
        )
    return slot
