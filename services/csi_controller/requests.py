"""Fields that several requests of the Controller service share."""

from collections.abc import Collection, Mapping

from dpucsi import naming
from dpucsi.backends import StorageBackend
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError


def required(field: str, value: Collection[object]) -> None:
    """Raises InvalidArgumentError where the field is empty."""
    if not value:
        raise InvalidArgumentError(f"{field} is missing; it is required")


def refuse_secrets(secrets: Mapping[str, str]) -> None:
    """No storage backend takes a secret yet. Names the keys, never a value."""
    if secrets:
        raise InvalidArgumentError(
            f"secrets has the unknown keys {', '.join(sorted(secrets))}; this plugin takes none, remove the reference "
            "to the Secret"
        )


def parse_volume_id(text: str) -> naming.VolumeId | None:
    """None for an id that CreateVolume cannot have returned. Raises InvalidArgumentError where it is missing."""
    required("volume_id", text)
    try:
        return naming.VolumeId.parse(text)
    except InvalidArgumentError:
        return None


def node_id_of(text: str) -> naming.NodeId:
    """Raises NotFoundError for an id that NodeGetInfo cannot have returned: there is no such node."""
    required("node_id", text)
    try:
        return naming.NodeId.parse(text)
    except InvalidArgumentError as malformed:
        raise NotFoundError(f"no such node: {malformed}") from malformed


def find_backend(backends: Mapping[str, StorageBackend], volume_id: naming.VolumeId) -> StorageBackend:
    """Raises FailedPreconditionError, for "not configured" must never be taken for "does not exist"."""
    if volume_id.backend not in backends:
        raise FailedPreconditionError(
            f"volume {volume_id} is on storage backend {volume_id.backend!r}, which is not configured here (known: "
            f"{', '.join(sorted(backends))}); add its table to the file of --backends"
        )
    return backends[volume_id.backend]
