"""A kind over a far side in memory, that dies or refuses at any await: what the engine does is its own, not SPDK's.

The far side is "SPDK" to the engine: subsystems by NQN, as `serial` texts. The messages are OPI's NvmeSubsystem.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpucsi.aio import Operations
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.errors import DpucsiError, FailedPreconditionError, InvalidArgumentError, UnavailableError
from dpucsi.spdk import Instance
from dpucsi.store import Records
from opi_bridge.engine import Engine
from opi_bridge.kind import Kind, View
from opi_bridge.objects import Objects
from opi_bridge.realiser import Realiser


@dataclass
class FarSide:
    """What exists; every call is logged. `fail` holds, by call, the error to raise before or after its effect."""

    serials: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    before: dict[str, DpucsiError] = field(default_factory=dict)
    after: dict[str, DpucsiError] = field(default_factory=dict)
    instance: Instance = field(default_factory=lambda: Instance(1, 100))
    meant: Instance | None = None

    @contextmanager
    def only(self, instance: Instance) -> Iterator[None]:
        self.meant = instance
        try:
            yield
        finally:
            self.meant = None

    async def act(self, call: str, effect: Any = None) -> None:
        if self.meant not in (None, self.instance):
            raise UnavailableError("restarted")
        self.calls.append(call)
        await asyncio.sleep(0)
        if call in self.before:
            raise self.before.pop(call)
        if effect is not None:
            effect()
        await asyncio.sleep(0)
        if call in self.after:
            raise self.after.pop(call)

    def restart(self) -> None:
        self.serials.clear()
        self.instance = Instance(self.instance.number + 1, 100)


class FakeKind(Kind[pb.NvmeSubsystem, str | None]):
    message = pb.NvmeSubsystem
    changeable = frozenset({"spec.model_number"})

    def __init__(self, far: FarSide) -> None:
        self.far = far

    def complete(self, name: str, resource: pb.NvmeSubsystem, objects: Objects) -> None:
        if resource.spec.nqn == "bad":
            raise InvalidArgumentError("bad nqn")
        resource.spec.serial_number = resource.spec.serial_number or "made"

    def keys(self, name: str, resource: pb.NvmeSubsystem) -> Iterable[str]:
        return (f"the NQN {resource.spec.nqn}",)

    async def read(self, name: str, resource: pb.NvmeSubsystem, view: View) -> str | None:
        await self.far.act("read")
        return self.far.serials.get(resource.spec.nqn)

    def is_so(self, resource: pb.NvmeSubsystem, seen: str | None) -> bool:
        if seen not in (None, resource.spec.serial_number):
            raise FailedPreconditionError(f"serial number is {seen}")
        return seen is not None

    def is_gone(self, resource: pb.NvmeSubsystem, seen: str | None) -> bool:
        return seen != resource.spec.serial_number

    async def make(self, name: str, resource: pb.NvmeSubsystem, seen: str | None) -> None:
        spec = resource.spec
        await self.far.act("make", lambda: self.far.serials.__setitem__(spec.nqn, spec.serial_number))

    async def unmake(self, name: str, resource: pb.NvmeSubsystem) -> None:
        await self.far.act("unmake", lambda: self.far.serials.pop(resource.spec.nqn, None))

    def show(self, resource: pb.NvmeSubsystem, up: bool) -> None:
        resource.status.firmware_revision = "up" if up else "down"


class FirstActingKind(FakeKind):
    """Its far side makes nothing over what is there."""

    acts_first = True

    async def make(self, name: str, resource: pb.NvmeSubsystem, seen: str | None) -> None:
        assert seen is None
        if resource.spec.nqn in self.far.serials:
            self.far.before["make"] = FailedPreconditionError("File exists")
        await super().make(name, resource, seen)


class FakePreparation:
    def __init__(self, far: FarSide) -> None:
        self._far = far

    @property
    def instance(self) -> Instance:
        return self._far.instance

    def is_current(self, instance: Instance | None) -> bool:
        return instance == self._far.instance

    async def done(self) -> Instance:
        return self._far.instance


class Desk:
    """One life of the bridge's engine on a state file: `Desk(path, far)` again is the next life."""

    def __init__(self, path: Path, far: FarSide, kind: type[FakeKind] = FakeKind) -> None:
        self.far = far
        self.kind = kind(far)
        self.records = Records.open(path)
        self.objects = Objects(self.records)
        self.objects.load([self.kind])
        self.operations = Operations(5.0)
        self.realiser = Realiser(far, self.objects, FakePreparation(far))  # type: ignore[arg-type]
        self.engine = Engine(far, self.objects, self.realiser, self.operations)  # type: ignore[arg-type]

    async def create(self, resource_id: str = "s1", **spec: Any) -> pb.NvmeSubsystem:
        return await self.engine.create(self.kind, create_request(resource_id, **spec))

    async def delete(self, resource_id: str = "s1", *, allow_missing: bool = False) -> None:
        request = pb.DeleteNvmeSubsystemRequest(name=f"nvmeSubsystems/{resource_id}", allow_missing=allow_missing)
        await self.engine.delete(self.kind, request)

    def stored(self) -> list[str]:
        return sorted(self.records.load("NvmeSubsystem"))

    async def close(self) -> None:
        await self.operations.drain()
        await self.records.close()


def create_request(resource_id: str, **spec: Any) -> pb.CreateNvmeSubsystemRequest:
    subsystem = pb.NvmeSubsystem(spec=pb.NvmeSubsystemSpec(**({"nqn": "nqn.a"} | spec)))
    return pb.CreateNvmeSubsystemRequest(nvme_subsystem=subsystem, nvme_subsystem_id=resource_id)
