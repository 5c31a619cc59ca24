"""Between the wire's messages and our values."""

import ipaddress
from collections.abc import Collection
from uuid import UUID

from dpucsi import naming
from dpucsi.api.attacher.v1 import attacher_pb2 as pb
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import AttachSpec, TargetPath
from volume_attacher.record import Record, State
from volume_attacher.slots import Functions, Placement

BOOT_ID_MAX = 64  # a UUID's text has 36
_PLACEMENTS = {
    pb.PLACEMENT_UNSPECIFIED: Placement.SHARED,
    pb.PLACEMENT_SHARED: Placement.SHARED,
    pb.PLACEMENT_EXCLUSIVE: Placement.EXCLUSIVE,
}
_STATES = {
    State.ATTACHING: pb.ATTACHMENT_STATE_ATTACHING,
    State.ATTACHED: pb.ATTACHMENT_STATE_ATTACHED,
    State.DETACHING: pb.ATTACHMENT_STATE_DETACHING,
    State.UNCONFIRMED: pb.ATTACHMENT_STATE_UNCONFIRMED,
}


def uuid_from(text: str, field: str) -> UUID:
    """Only the canonical spelling: two spellings of one uuid would be two locks."""
    try:
        uuid = UUID(text)
    except ValueError:
        uuid = None
    if uuid is None or str(uuid) != text:
        raise InvalidArgumentError(f"{field} {text[:80]!r} is not a UUID of the form 8-4-4-4-12, lower case")
    return uuid


def boot_id_from(text: str) -> str:
    """The Host's boot id."""
    if not text or len(text) > BOOT_ID_MAX or not text.isprintable():
        raise InvalidArgumentError(
            f"boot_id {text[:BOOT_ID_MAX]!r} is not the Host's /proc/sys/kernel/random/boot_id, which is required"
        )
    return text


def placement_from(number: int) -> Placement:
    """How the volume is placed."""
    placement = _PLACEMENTS.get(pb.Placement.ValueType(number))
    if placement is None:
        raise InvalidArgumentError(f"placement {number} is not known; use SHARED (1) or EXCLUSIVE (2)")
    return placement


def spec_from(spec: pb.AttachSpec, transports: Collection[str]) -> AttachSpec:
    """What has to be attached, checked."""
    uuid = uuid_from(spec.uuid, "spec.uuid")
    paths = tuple(_path_from(index, path, transports) for index, path in enumerate(spec.paths))
    if not paths or len(set(paths)) != len(paths):
        raise InvalidArgumentError(
            f"spec.paths of volume {uuid} names no address, or one twice; give each address once"
        )
    if spec.size_bytes < 0:
        raise InvalidArgumentError(f"spec.size_bytes of volume {uuid} is {spec.size_bytes}; give 0 where it is unknown")
    subnqn = naming.check_nqn(spec.subnqn, "spec.subnqn")
    of_target = naming.uuid_of_subnqn(subnqn)
    if of_target is not None and of_target != uuid:
        raise InvalidArgumentError(f"spec.uuid is {uuid}, but spec.subnqn {subnqn} is of another volume")
    return AttachSpec(uuid, subnqn, naming.check_nqn(spec.hostnqn, "spec.hostnqn"), paths, spec.size_bytes)


def attachment_of(record: Record, functions: Functions) -> pb.Attachment:
    """A record as the wire shows it."""
    spec = record.spec
    paths = [
        pb.TargetPath(trtype=path.trtype, adrfam=path.adrfam, traddr=path.traddr, trsvcid=path.trsvcid)
        for path in spec.paths
    ]
    shown = pb.AttachSpec(
        uuid=str(spec.uuid), subnqn=spec.subnqn, hostnqn=spec.hostnqn, paths=paths, size_bytes=spec.size_bytes
    )
    exclusive = record.placement is Placement.EXCLUSIVE
    return pb.Attachment(
        spec=shown,
        placement=pb.PLACEMENT_EXCLUSIVE if exclusive else pb.PLACEMENT_SHARED,
        state=_STATES[record.state],
        disk=disk_of(record, functions),
        boot_id=record.boot_id,
    )


def disk_of(record: Record, functions: Functions) -> pb.Disk:
    """The marks by which the Host finds its disk."""
    uuid = record.spec.uuid
    return pb.Disk(
        uuid=str(uuid),
        nguid=naming.nguid(uuid).lower(),
        nsid=record.slot.nsid,
        size_bytes=record.spec.size_bytes,
        pci_address=functions.pci_address(record.slot.function),
        function=str(record.slot.function),
    )


def _path_from(index: int, path: pb.TargetPath, transports: Collection[str]) -> TargetPath:
    where = f"spec.paths[{index}]"
    if path.trtype not in transports:
        raise InvalidArgumentError(
            f"{where}.trtype {path.trtype[:40]!r} is not a transport of this DPU, which has {', '.join(transports)}"
        )
    try:
        address = ipaddress.ip_address(path.traddr)
    except ValueError:
        raise InvalidArgumentError(f"{where}.traddr {path.traddr[:80]!r} is not an IP address") from None
    if path.adrfam != f"IPv{address.version}":
        raise InvalidArgumentError(f"{where}.adrfam {path.adrfam[:40]!r} does not fit traddr {path.traddr}")
    digits = path.trsvcid.isascii() and path.trsvcid.isdigit() and len(path.trsvcid) < 6
    if not digits or not 0 < int(path.trsvcid) < 65536:
        raise InvalidArgumentError(f"{where}.trsvcid {path.trsvcid[:40]!r} is not a port, 1 to 65535")
    return TargetPath(str(address), str(int(path.trsvcid)), path.trtype, path.adrfam)
