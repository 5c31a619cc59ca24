"""NvmeNamespace: a bdev under a namespace id of a host-facing subsystem, in SPDK one nvmf_subsystem_add_ns.

`volume_name_ref` names the bdev: a remote namespace (`nvmeRemoteControllers/x/nvmeRemoteNamespaces/<uuid or nsid>`), or
a bdev of this SPDK by its uuid, name or alias. A remote namespace is always taken by its uuid: SPDK gives whatever a
target puts at the same nsid the same bdev name.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
    UnimplementedError,
)
from dpucsi.naming import nguid as nguid_of
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.bdev import Bdev
from dpucsi.spdk.nvme import ENABLED, RemoteController
from dpucsi.spdk.nvmf import NvmfNamespace, Subsystem, nvmf_subsystem_add_ns, nvmf_subsystem_remove_ns
from opi_bridge.kind import Kind, View
from opi_bridge.names import id_of, parent_of
from opi_bridge.objects import Objects

REMOTE, REMOTE_NAMESPACES = "nvmeRemoteControllers", "nvmeRemoteNamespaces"
REMOTE_PRODUCT = "NVMe disk"  # bdev product_name of every remote namespace
NGUID_DIGITS = 32


@dataclass(frozen=True)
class Seen:
    """The subsystem, the bdev that the namespace is to show, and the remote controller behind it where there is one."""

    subsystem: Subsystem | None
    bdev: Bdev | None
    remote_controller: RemoteController | None


class NamespaceKind(Kind[pb.NvmeNamespace, Seen]):
    """Identified by its uuid; its nsid never changes."""

    message = pb.NvmeNamespace

    def __init__(self, client: SpdkClient, objects: Objects) -> None:
        self._client = client
        self._objects = objects

    def complete(self, name: str, resource: pb.NvmeNamespace, objects: Objects) -> None:
        """The uuid from the reference, the nguid from the uuid, the lowest free nsid."""
        spec = resource.spec
        if spec.eui64:
            raise UnimplementedError(f"spec.eui64 of {name} is not offered; leave it unset")
        spec.uuid = _uuid_of(name, spec)
        spec.nguid = _nguid(name, spec)
        room = objects.get(parent_of(name)).resource.spec.max_namespaces
        if not 0 <= spec.host_nsid <= room:
            raise InvalidArgumentError(
                f"spec.host_nsid of {name} is {spec.host_nsid}, wanted 0 (any) to {room}, its subsystem's limit"
            )
        spec.host_nsid = spec.host_nsid or self._free_nsid(parent_of(name), room, objects)

    def keys(self, name: str, resource: pb.NvmeNamespace) -> Iterable[str]:
        """Its nsid; and its uuid, which SPDK shows once only."""
        keys = [f"nsid {resource.spec.host_nsid} of {parent_of(name)}"]
        return [*keys, f"the uuid {resource.spec.uuid}"] if resource.spec.uuid else keys

    def references(self, resource: pb.NvmeNamespace) -> Iterable[str]:
        """The remote controller that it comes from."""
        remote = _remote_controller(resource.spec)
        return [remote] if remote else []

    def first(self, name: str, resource: pb.NvmeNamespace, objects: Objects) -> Iterable[Iterable[str]]:
        """The subsystem, and any one path to the volume."""
        remote = _remote_controller(resource.spec)
        paths = [path for path in objects.dependents(remote) if parent_of(path) == remote] if remote else []
        return [[parent_of(name)], paths] if paths else [[parent_of(name)]]

    async def read(self, name: str, resource: pb.NvmeNamespace, view: View) -> Seen:
        """One round."""
        remote = _remote_controller(resource.spec)
        subsystem, bdev, controller = await asyncio.gather(
            view.subsystem(self._nqn(name)),
            view.bdev(resource.spec.uuid or resource.spec.volume_name_ref),
            view.remote_controller(id_of(remote)) if remote else _nothing(),
        )
        return Seen(subsystem, bdev, controller)

    def is_so(self, resource: pb.NvmeNamespace, seen: Seen) -> bool:
        """The same uuid and nguid at the same nsid. Raises where another one is there."""
        found = _at_nsid(resource, seen)
        if found is None:
            return False
        if not _is_ours(resource, found):
            raise FailedPreconditionError(
                f"in SPDK, nsid {found.nsid} shows {found.bdev_name} with uuid {found.uuid} and nguid {found.nguid}, "
                f"wanted {resource.spec.uuid} and {resource.spec.nguid}; remove it there or use another nsid"
            )
        return True

    def is_gone(self, resource: pb.NvmeNamespace, seen: Seen) -> bool:
        """Nothing at its nsid, or somebody else's."""
        found = _at_nsid(resource, seen)
        return found is None or not _is_ours(resource, found)

    def check_before(self, name: str, resource: pb.NvmeNamespace, seen: Seen) -> None:
        """The bdev is proven to be the right one before a Host sees it."""
        spec, bdev = resource.spec, seen.bdev
        if bdev is None:
            raise UnavailableError(
                f"{name}: SPDK has no bdev {spec.uuid or spec.volume_name_ref} now; is a path to it connected, and "
                "does its target show this volume?"
            )
        if spec.uuid and bdev.uuid != spec.uuid:
            raise FailedPreconditionError(f"{name}: bdev {bdev.name} has uuid {bdev.uuid}, wanted {spec.uuid}")
        if not spec.uuid and bdev.product_name == REMOTE_PRODUCT:
            raise InvalidArgumentError(
                f"{name}: {bdev.name} is a remote namespace, whose name another volume may take; give its uuid "
                f"({bdev.uuid}) as spec.uuid"
            )

    async def make(self, name: str, resource: pb.NvmeNamespace, seen: Seen) -> None:
        """Shows the bdev, by its uuid where that is known: nothing else can have taken its place meanwhile."""
        spec = resource.spec
        await nvmf_subsystem_add_ns(
            self._client,
            nqn=self._nqn(name),
            bdev_name=spec.uuid or spec.volume_name_ref,
            nsid=spec.host_nsid,
            uuid=spec.uuid or None,
            nguid=spec.nguid or None,
        )

    async def unmake(self, name: str, resource: pb.NvmeNamespace) -> None:
        """Takes it away from the Host."""
        await nvmf_subsystem_remove_ns(self._client, nqn=self._nqn(name), nsid=resource.spec.host_nsid)

    def is_up(self, resource: pb.NvmeNamespace, seen: Seen) -> bool:
        """There, and with a path that works where it comes from afar."""
        if not self.is_so(resource, seen):
            return False
        if not _remote_controller(resource.spec):
            return True
        return seen.remote_controller is not None and any(p.state == ENABLED for p in seen.remote_controller.paths)

    def show(self, resource: pb.NvmeNamespace, up: bool) -> None:
        """Wanted is always enabled; `oper_state` says whether it works."""
        status = pb.NvmeNamespaceStatus
        resource.status.state = status.STATE_ENABLED
        resource.status.oper_state = status.OPER_STATE_ONLINE if up else status.OPER_STATE_OFFLINE

    def _nqn(self, name: str) -> str:
        nqn: str = self._objects.get(parent_of(name)).resource.spec.nqn
        return nqn

    def _free_nsid(self, parent: str, room: int, objects: Objects) -> int:
        taken = {objects.get(other).resource.spec.host_nsid for other in objects.names(self, parent)}
        free = next((nsid for nsid in range(1, room + 1) if nsid not in taken), None)
        if free is None:
            raise ResourceExhaustedError(f"all {room} namespace ids of {parent} are taken; delete a namespace first")
        return free


async def _nothing() -> None:
    return None


def _at_nsid(resource: pb.NvmeNamespace, seen: Seen) -> NvmfNamespace | None:
    return seen.subsystem.namespace(resource.spec.host_nsid) if seen.subsystem else None


def _is_ours(resource: pb.NvmeNamespace, found: NvmfNamespace) -> bool:
    spec = resource.spec
    if not spec.uuid:
        return spec.volume_name_ref == found.bdev_name
    return found.uuid == spec.uuid and (not found.nguid or found.nguid.upper() == spec.nguid)


def _remote_controller(spec: pb.NvmeNamespaceSpec) -> str:
    """The resource name of the remote controller that the volume comes from; "" for a bdev of this SPDK."""
    segments = spec.volume_name_ref.split("/")
    return "/".join(segments[:2]) if segments[0] == REMOTE else ""


def _uuid_of(name: str, spec: pb.NvmeNamespaceSpec) -> str:
    """What the bdev's uuid must be; "" where only its name is known. Raises InvalidArgumentError."""
    ref = spec.volume_name_ref
    segments = ref.split("/")
    if segments[0] == REMOTE and (len(segments) != 4 or segments[2] != REMOTE_NAMESPACES or "" in segments):
        raise InvalidArgumentError(
            f"spec.volume_name_ref of {name} is {ref[:200]!r}, wanted "
            f"{REMOTE}/{{id}}/{REMOTE_NAMESPACES}/{{uuid or nsid}}"
        )
    referred = _uuid(segments[-1])
    if spec.uuid and _uuid(spec.uuid) != spec.uuid:
        raise InvalidArgumentError(
            f"spec.uuid of {name} is {spec.uuid[:80]!r}, wanted 8-4-4-4-12 lower-case hex digits"
        )
    if referred and spec.uuid and referred != spec.uuid:
        raise InvalidArgumentError(f"spec.volume_name_ref of {name} means uuid {referred}, spec.uuid says {spec.uuid}")
    if segments[0] == REMOTE and not referred and not spec.uuid:
        raise InvalidArgumentError(
            f"{name} refers to {ref} by its nsid, under which another volume may appear; give spec.uuid too"
        )
    return referred or spec.uuid


def _nguid(name: str, spec: pb.NvmeNamespaceSpec) -> str:
    """32 upper-case hex digits as SPDK shows them, "" without a uuid to derive it from."""
    if not spec.nguid:
        return nguid_of(UUID(spec.uuid)) if spec.uuid else ""
    digits = spec.nguid.replace("-", "").upper()
    if len(digits) != NGUID_DIGITS or not set(digits) <= set("0123456789ABCDEF"):
        raise InvalidArgumentError(f"spec.nguid of {name} is {spec.nguid[:80]!r}, wanted {NGUID_DIGITS} hex digits")
    return digits


def _uuid(text: str) -> str:
    try:
        return text if str(UUID(text)) == text else ""
    except ValueError:
        return ""
