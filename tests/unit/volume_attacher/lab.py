"""One attacher over a fake OPI server on a real socket."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dpucsi import naming
from dpucsi.model import AttachSpec, HostFunction, TargetPath
from dpucsi.opi import OpiClient
from dpucsi.rpc import Endpoint
from dpucsi.store import Records
from dpucsi.testing.fake_opi import FakeOpi
from volume_attacher.attach import attach
from volume_attacher.detach import detach, release
from volume_attacher.dpu import Dpu
from volume_attacher.reconcile import Reconciler
from volume_attacher.record import Record
from volume_attacher.slots import Functions, Placement
from volume_attacher.table import Table

DPU = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
SHARED, EXCLUSIVE = HostFunction(0, 0), HostFunction(0, 0, 1)
FUNCTIONS = Functions({SHARED: "0000:3b:00.0"}, {EXCLUSIVE: "0000:3b:00.1"}, namespaces_per_function=4)
BOOT, NEXT_BOOT = "boot-1", "boot-2"


def volume(number: int) -> UUID:
    return uuid.uuid5(DPU, str(number))


def spec(number: int = 1, *, generation: str = "00000001", addresses: tuple[str, ...] = ("192.0.2.1",)) -> AttachSpec:
    paths = tuple(TargetPath(address, "4420") for address in addresses)
    identity = volume(number)
    return AttachSpec(identity, naming.subnqn(identity), naming.hostnqn(DPU, generation), paths, 1 << 30)


@dataclass
class Bench:
    """`dpu` works on `fake`; state lies in `folder`."""

    fake: FakeOpi
    folder: Path
    dpu: Dpu
    store: Records

    @classmethod
    @asynccontextmanager
    async def open(cls, fake: FakeOpi, folder: Path) -> AsyncIterator["Bench"]:
        store = Records.open(folder / "attacher.db")
        opi = OpiClient(Endpoint.parse(f"unix://{fake.path}"))
        try:
            yield cls(fake, folder, Dpu(DPU, FUNCTIONS, opi, Table(store)), store)
        finally:
            await opi.close()
            await store.close()

    def reconciler(self) -> Reconciler:
        return Reconciler(self.dpu, 30.0)

    async def attach(self, number: int = 1, placement: Placement = Placement.SHARED, boot: str = BOOT, **changed):
        return await attach(self.dpu, spec(number, **changed), placement, boot)

    async def detach(self, number: int = 1, boot: str = BOOT):
        return await detach(self.dpu, volume(number), boot)

    async def release(self, number: int = 1, boot: str = BOOT) -> None:
        await release(self.dpu, volume(number), boot)

    def record(self, number: int = 1) -> Record:
        """What is kept of the volume; a failed test where there is nothing."""
        kept = self.dpu.table.get(volume(number))
        assert kept is not None, f"no record of {volume(number)}"
        return kept

    def leftovers(self) -> list[str]:
        """All but the shared function, which stays."""
        shared = {f"nvmeSubsystems/{SHARED}", f"nvmeSubsystems/{SHARED}/nvmeControllers/{SHARED}"}
        return sorted(self.fake.objects.keys() - shared)
