"""The publish_context: how an AttachSpec travels from the controller through the CO to the DPU, as text.

Keys: transport, subnqn, hostnqn, uuid, size (bytes), paths (a JSON list of {traddr, trsvcid, adrfam}). At most 4 KiB in
all (CSI spec, "Size Limits" for a map). The CO is trusted to carry it, not to have kept it whole: it is checked like
any other input.
"""

import ipaddress
import json
from collections.abc import Mapping
from uuid import UUID

from dpucsi.errors import InvalidArgumentError
from dpucsi.model import AttachSpec, TargetPath
from dpucsi.naming import check_nqn, uuid_of_subnqn

LIMIT = 4096
TRANSPORTS = ("TCP", "RDMA")
_KEYS = {"transport", "subnqn", "hostnqn", "uuid", "size", "paths"}


def encode(spec: AttachSpec) -> dict[str, str]:
    """The publish_context of `spec`, whose paths share one transport."""
    paths = [{"traddr": path.traddr, "trsvcid": path.trsvcid, "adrfam": path.adrfam} for path in spec.paths]
    return {
        "transport": spec.paths[0].trtype,
        "subnqn": spec.subnqn,
        "hostnqn": spec.hostnqn,
        "uuid": str(spec.uuid),
        "size": str(spec.size_bytes),
        "paths": json.dumps(paths, separators=(",", ":")),
    }


def decode(context: Mapping[str, str]) -> AttachSpec:
    """The opposite of `encode`. Raises InvalidArgumentError that names the key and what is wrong with it."""
    missing = sorted(_KEYS - {"size"} - context.keys())
    if missing:
        raise InvalidArgumentError(
            f"publish_context lacks {', '.join(missing)}; pass on what ControllerPublishVolume returned, unchanged"
        )
    if sum(len(key) + len(value) for key, value in context.items()) > LIMIT:
        raise InvalidArgumentError(f"publish_context is larger than {LIMIT} bytes")
    uuid = _uuid(context["uuid"])
    subnqn = check_nqn(context["subnqn"], "publish_context subnqn")
    of_target = uuid_of_subnqn(subnqn)
    if of_target is not None and of_target != uuid:
        raise InvalidArgumentError(f"publish_context names volume {uuid} but subnqn {subnqn} of another one")
    return AttachSpec(
        uuid=uuid,
        subnqn=subnqn,
        hostnqn=check_nqn(context["hostnqn"], "publish_context hostnqn"),
        paths=_paths(context["transport"], context["paths"]),
        size_bytes=_size(context.get("size", "0")),
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as wrong:
        raise InvalidArgumentError(f"publish_context uuid {text!r} is not a UUID") from wrong


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidArgumentError(f"publish_context size {text!r} is not a number of bytes")
    return int(text)


def _paths(transport: str, text: str) -> tuple[TargetPath, ...]:
    if transport not in TRANSPORTS:
        raise InvalidArgumentError(f"publish_context transport {transport!r} is none of {', '.join(TRANSPORTS)}")
    try:
        listed = json.loads(text)
        paths = tuple(_path(transport, entry["traddr"], entry["trsvcid"]) for entry in listed)
    except (ValueError, TypeError, KeyError, RecursionError) as wrong:
        raise InvalidArgumentError(
            f'publish_context paths {text[:200]!r} is not a JSON list of {{"traddr": address, "trsvcid": port}}'
        ) from wrong
    if not paths or len(set(paths)) != len(paths):
        raise InvalidArgumentError(f"publish_context paths {text[:200]!r} names no address, or one twice")
    return paths


def _path(transport: str, traddr: str, trsvcid: str) -> TargetPath:
    address = ipaddress.ip_address(str(traddr))  # ValueError: not an address
    if not 0 < int(trsvcid) < 65536:
        raise ValueError(trsvcid)
    return TargetPath(str(address), str(int(trsvcid)), transport, f"IPv{address.version}")
