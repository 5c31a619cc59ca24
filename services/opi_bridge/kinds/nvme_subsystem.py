"""NvmeSubsystem: what a Host sees as one NVMe subsystem, in SPDK an nvmf subsystem."""

import asyncio
from collections.abc import Iterable, Iterator
from uuid import NAMESPACE_URL, uuid5

from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.dpus import DpuDriver
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, UnimplementedError
from dpucsi.naming import check_nqn, serial
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.nvmf import (
    Subsystem,
    nvmf_create_subsystem,
    nvmf_delete_subsystem,
    nvmf_subsystem_add_host,
)
from opi_bridge.kind import Kind, View
from opi_bridge.objects import Objects

SERIAL_MAX, MODEL_MAX = 20, 40  # characters; NVMe Base 2.0, Identify Controller
MODEL = "DPU NVMe controller"
MAX_NAMESPACES = 256  # SPDK's own default of 32 would be the limit of volumes on a function


class SubsystemKind(Kind[pb.NvmeSubsystem, Subsystem | None]):
    """Identified by its NQN."""

    message = pb.NvmeSubsystem

    def __init__(self, client: SpdkClient, driver: DpuDriver) -> None:
        self._client = client
        self._driver = driver

    def complete(self, name: str, resource: pb.NvmeSubsystem, objects: Objects) -> None:
        """A serial number from the NQN, so that no two subsystems share one; the host that the driver lets in."""
        spec = resource.spec
        check_nqn(spec.nqn, f"spec.nqn of {name}")
        if spec.psk:
            raise UnimplementedError(f"spec.psk of {name} is not offered yet: hosts connect without TLS")
        if spec.max_namespaces < 0:
            raise InvalidArgumentError(f"spec.max_namespaces of {name} is {spec.max_namespaces}, wanted 0 or more")
        spec.serial_number = spec.serial_number or serial(uuid5(NAMESPACE_URL, spec.nqn))
        spec.model_number = spec.model_number or MODEL
        spec.max_namespaces = spec.max_namespaces or MAX_NAMESPACES
        spec.hostnqn = spec.hostnqn or self._driver.allowed_host()
        if spec.hostnqn:
            check_nqn(spec.hostnqn, f"spec.hostnqn of {name}")
        _check_text(f"spec.serial_number of {name}", spec.serial_number, SERIAL_MAX)
        _check_text(f"spec.model_number of {name}", spec.model_number, MODEL_MAX)

    def keys(self, name: str, resource: pb.NvmeSubsystem) -> Iterable[str]:
        """Its NQN."""
        return (f"the NQN {resource.spec.nqn}",)

    async def read(self, name: str, resource: pb.NvmeSubsystem, view: View) -> Subsystem | None:
        """The subsystem with everything in it."""
        return await view.subsystem(resource.spec.nqn)

    def is_so(self, resource: pb.NvmeSubsystem, seen: Subsystem | None) -> bool:
        """All of the spec."""
        if seen is None:
            return False
        differing = list(_differences(resource.spec, seen))
        if differing:
            raise FailedPreconditionError(
                f"SPDK has a subsystem {seen.nqn} with {', '.join(differing)}; delete it there or choose another NQN"
            )
        return not resource.spec.hostnqn or resource.spec.hostnqn in seen.hosts

    def is_gone(self, resource: pb.NvmeSubsystem, seen: Subsystem | None) -> bool:
        """Absent, or another one under the same NQN."""
        return seen is None or any(_differences(resource.spec, seen))

    async def make(self, name: str, resource: pb.NvmeSubsystem, seen: Subsystem | None) -> None:
        """The subsystem and its host, sent together: SPDK starts them in order."""
        spec = resource.spec
        steps = []
        if seen is None:
            steps.append(
                nvmf_create_subsystem(
                    self._client,
                    nqn=spec.nqn,
                    serial_number=spec.serial_number,
                    model_number=spec.model_number,
                    max_namespaces=spec.max_namespaces,
                    allow_any_host=not spec.hostnqn,
                )
            )
        if spec.hostnqn:
            steps.append(nvmf_subsystem_add_host(self._client, nqn=spec.nqn, host=spec.hostnqn))
        await asyncio.gather(*steps)

    async def unmake(self, name: str, resource: pb.NvmeSubsystem) -> None:
        """Deletes it; the engine has seen to it that nothing of ours is in it."""
        await nvmf_delete_subsystem(self._client, nqn=resource.spec.nqn)


def _check_text(what: str, text: str, longest: int) -> None:
    if len(text) > longest or not text.isascii() or not text.isprintable():
        raise InvalidArgumentError(f"{what} is {text[:80]!r}, wanted at most {longest} printable ASCII characters")


def _differences(spec: pb.NvmeSubsystemSpec, seen: Subsystem) -> Iterator[str]:
    if seen.serial_number != spec.serial_number:
        yield f"serial number {seen.serial_number}, wanted {spec.serial_number}"
    if seen.model_number != spec.model_number:
        yield f"model number {seen.model_number}, wanted {spec.model_number}"
    if seen.max_namespaces != spec.max_namespaces:
        yield f"room for {seen.max_namespaces} namespaces, wanted {spec.max_namespaces}"
    if seen.allow_any_host == bool(spec.hostnqn):
        yield "any host allowed" if seen.allow_any_host else "only named hosts allowed"
