"""What every verb works on: the OPI server, the functions of this card, and the records."""

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from dpucsi import naming
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.errors import FailedPreconditionError
from dpucsi.model import HostFunction
from dpucsi.opi import OpiClient, frontend
from volume_attacher.slots import Functions, Slot
from volume_attacher.table import Table

MODEL = "dpucsi volume"


@dataclass
class Dpu:
    """One card.

    `strangers`: slots seen in use without a record, and by which volume; they are left alone. `paths_missing`: volumes
    of which a path could not be connected so far.
    """

    uuid: UUID
    functions: Functions
    opi: OpiClient
    table: Table
    strangers: dict[Slot, UUID] = field(default_factory=dict)
    paths_missing: set[UUID] = field(default_factory=set)
    _subsystems: dict[HostFunction, str] = field(default_factory=dict)

    async def ensure_function(self, function: HostFunction) -> str:
        """Subsystem and controller of one function; the subsystem's OPI name. One made before costs nothing here."""
        if function not in self._subsystems:
            subsystem = await frontend.ensure_subsystem(self.opi, function, self._subsystem_spec(function))
            await frontend.ensure_controller(self.opi, subsystem, function)
            self._subsystems[function] = subsystem
        return self._subsystems[function]

    async def remove_function(self, function: HostFunction) -> None:
        """The Host sees no NVMe device on this function any more."""
        self._subsystems.pop(function, None)
        await frontend.remove_controller(self.opi, function)
        await frontend.remove_subsystem(self.opi, function)

    def keep_only(self, subsystems: Collection[str]) -> None:
        """These are the OPI names that the server has: whatever else was made before is lost."""
        for function, name in list(self._subsystems.items()):
            if name not in subsystems:
                del self._subsystems[function]

    def forget_functions(self) -> None:
        """The OPI server may be another one: ensure again before the next use."""
        self._subsystems.clear()

    def _subsystem_spec(self, function: HostFunction) -> pb.NvmeSubsystemSpec:
        if function in self.functions.shared:
            namespaces = self.functions.namespaces_per_function
        elif function in self.functions.exclusive:
            namespaces = 1
        else:
            raise FailedPreconditionError(
                f"function {function} is not among those this attacher was given; start it with that function again, "
                "or detach the volumes on it"
            )
        return pb.NvmeSubsystemSpec(
            nqn=naming.host_subnqn(self.uuid, str(function)),
            serial_number=naming.serial(uuid5(self.uuid, str(function))),
            model_number=MODEL,
            max_namespaces=namespaces,
        )
