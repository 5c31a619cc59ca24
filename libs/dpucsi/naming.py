"""Names and identities, derived and never invented: design section 2.

Everything comes from one UUID per volume, `uuid5(cluster id, CSI volume name)`, by pure functions. Any service can
recompute any name, and a replay gives back the same device.
"""

import re
import secrets
from dataclasses import dataclass
from uuid import UUID, uuid5

from dpucsi.errors import InvalidArgumentError

NQN_ROOT = "nqn.2024-01.io.dpucsi"
VOLUME_ID_MAX = 128  # bytes; CSI's own limit for an id, spec "Size Limits"
NODE_ID_MAX = 256  # bytes; CSI spec, NodeGetInfoResponse.node_id
NQN_MIN, NQN_MAX = 11, 223  # bytes; NVMe Base 2.0 section 4.7, as SPDK checks it
BACKEND_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

_VOLUME_NQN = f"{NQN_ROOT}:vol:"
_DPU_NQN = f"{NQN_ROOT}:dpu:"
_LVOL = "csi-"
_SERIAL_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NQN = re.compile(r"nqn\.\d{4}-(0[1-9]|1[0-2])\.[A-Za-z0-9][^\s:]*(:\S+)?")
_GENERATION = re.compile(r"[0-9a-f]{8}")


def volume_uuid(cluster_id: UUID, volume_name: str) -> UUID:
    """The identity of the volume that the CO calls `volume_name`, in this cluster."""
    return uuid5(cluster_id, volume_name)


@dataclass(frozen=True)
class VolumeId:
    """A CSI volume_id: `<storage backend>/<uuid>`."""

    backend: str
    uuid: UUID

    def __str__(self) -> str:
        return f"{self.backend}/{self.uuid}"

    @classmethod
    def parse(cls, text: str) -> "VolumeId":
        """Raises InvalidArgumentError for anything that this project could not have made."""
        backend, slash, tail = text.partition("/")
        uuid = _canonical_uuid(tail)
        if not slash or not BACKEND_NAME.fullmatch(backend) or uuid is None:
            raise InvalidArgumentError(
                f"volume_id {text[:VOLUME_ID_MAX]!r} is not of the form <storage backend>/<uuid>; use the id that "
                "CreateVolume returned"
            )
        return cls(backend, uuid)


@dataclass(frozen=True)
class NodeId:
    """A CSI node_id: `<kube node>/<dpu uuid>`."""

    node: str
    dpu: UUID

    def __str__(self) -> str:
        return f"{self.node}/{self.dpu}"

    @classmethod
    def parse(cls, text: str) -> "NodeId":
        """Raises InvalidArgumentError for anything that NodeGetInfo could not have returned."""
        node, slash, tail = text.rpartition("/")
        dpu = _canonical_uuid(tail)
        if not slash or not node or dpu is None or len(text.encode()) > NODE_ID_MAX:
            raise InvalidArgumentError(
                f"node_id {text[:NODE_ID_MAX]!r} is not of the form <node>/<dpu uuid>; use what NodeGetInfo gave"
            )
        return cls(node, dpu)


def subnqn(uuid: UUID) -> str:
    """The target subsystem of one volume."""
    return f"{_VOLUME_NQN}{uuid}"


def uuid_of_subnqn(nqn: str) -> UUID | None:
    """The volume behind one of our target subsystems; None for a subsystem that is not ours."""
    return _canonical_uuid(nqn.removeprefix(_VOLUME_NQN)) if nqn.startswith(_VOLUME_NQN) else None


def nguid(uuid: UUID) -> str:
    """The same 128 bits as 32 upper-case hex digits, the form in which SPDK takes and shows them."""
    return uuid.hex.upper()


def serial(uuid: UUID) -> str:
    """20 characters (NVMe's length for a serial number) from 103 bits of the uuid, so that no two volumes share one."""
    number, digits = uuid.int, []
    for _ in range(20):
        number, digit = divmod(number, len(_SERIAL_ALPHABET))
        digits.append(_SERIAL_ALPHABET[digit])
    return "".join(digits)


def lvol_name(uuid: UUID) -> str:
    """The volume in its lvol store; well below SPDK's 63 characters."""
    return f"{_LVOL}{uuid}"


def uuid_of_lvol(name: str) -> UUID | None:
    """The volume behind one of our lvols; None for an lvol that is not ours."""
    return _canonical_uuid(name.removeprefix(_LVOL)) if name.startswith(_LVOL) else None


def new_generation() -> str:
    """The one thing that is random on purpose: a token that no earlier attachment ever had (design section 2)."""
    return secrets.token_hex(4)


def hostnqn(dpu: UUID, generation: str) -> str:
    """The host NQN of one attachment."""
    return f"{_DPU_NQN}{dpu}:{generation}"


def dpu_of_hostnqn(nqn: str) -> UUID | None:
    """The DPU behind one of our host NQNs; None for a host NQN that is not ours."""
    if not nqn.startswith(_DPU_NQN):
        return None
    dpu, _, generation = nqn.removeprefix(_DPU_NQN).partition(":")
    return _canonical_uuid(dpu) if _GENERATION.fullmatch(generation) else None


def host_subnqn(dpu: UUID, function: str) -> str:
    """The subsystem that a Host sees on one function of its DPU; `function` as `HostFunction` prints itself."""
    return f"{NQN_ROOT}:host:{dpu}:{function}"


def opi_remote_controller(uuid: UUID) -> str:
    """Resource id of the OPI remote controller (and SPDK's controller name) of one volume."""
    return f"vol-{uuid}"


def opi_path(uuid: UUID, traddr: str, trsvcid: str) -> str:
    """Resource id of one path to one volume: the same path has the same id, another address another one."""
    return f"path-{uuid5(uuid, f'{traddr} {trsvcid}')}"


def opi_namespace(uuid: UUID) -> str:
    """Resource id of the front-end namespace of one volume."""
    return f"vol-{uuid}"


def check_nqn(nqn: str, what: str) -> str:
    """`nqn` as it is, or InvalidArgumentError that names `what` it was for."""
    if not _NQN.fullmatch(nqn) or not NQN_MIN <= len(nqn.encode()) <= NQN_MAX:
        raise InvalidArgumentError(
            f"{what} {nqn[:NQN_MAX]!r} is not an NQN: wanted nqn.<year>-<month>.<reverse domain>[:<name>], "
            f"{NQN_MIN} to {NQN_MAX} bytes, no blanks"
        )
    return nqn


def _canonical_uuid(text: str) -> UUID | None:
    """Only the 8-4-4-4-12 lower-case form: an id has one spelling, or two spellings of it would be two locks."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid if str(uuid) == text else None
