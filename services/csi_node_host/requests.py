"""Checks and converts the fields of CSI Node requests. Every error names the field and what it may be."""

from collections.abc import Mapping
from pathlib import Path

from csi_node_host.dpu import PLACEMENTS
from csi_node_host.publish import Publishing
from csi_node_host.stage import Staging
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.csi.capabilities import Access, parse_capability
from dpucsi.errors import InvalidArgumentError
from dpucsi.naming import VolumeId

PATH_MAX = 4096  # bytes, with the final zero; limits.h
CONTENT_SOURCE = "dpucsi/content-source"  # volume_context key, set by csi-controller
CONTENT_SOURCES = ("snapshot", "volume")
PLACEMENT = "placement"  # volume_context key


def parse_stage(request: csi_pb2.NodeStageVolumeRequest) -> Staging:
    """A NodeStageVolumeRequest; raises InvalidArgumentError. The publish_context is the DPU's to understand."""
    volume_id = VolumeId.parse(_required(request.volume_id, "volume_id"))
    staging_path = parse_path(request.staging_target_path, "staging_target_path")
    access = _access(request)
    refuse_secrets(request.secrets)
    if not request.publish_context:
        raise InvalidArgumentError("publish_context is empty; pass on what ControllerPublishVolume returned")
    return Staging(
        volume_id=volume_id,
        staging_path=staging_path,
        access=access,
        placement=_one_of(request.volume_context, PLACEMENT, tuple(PLACEMENTS)) or "shared",
        content_source=bool(_one_of(request.volume_context, CONTENT_SOURCE, CONTENT_SOURCES)),
        publish_context=dict(request.publish_context),
    )


def parse_publish(request: csi_pb2.NodePublishVolumeRequest) -> Publishing:
    """A NodePublishVolumeRequest; raises InvalidArgumentError."""
    volume_id = VolumeId.parse(_required(request.volume_id, "volume_id"))
    target_path = parse_path(request.target_path, "target_path")
    access = _access(request)
    refuse_secrets(request.secrets)
    staging_path = parse_path(request.staging_target_path, "staging_target_path")
    return Publishing(volume_id, staging_path, target_path, access, request.readonly)


def parse_path(text: str, field: str) -> Path:
    """An absolute path without '..'; raises InvalidArgumentError."""
    path = Path(_required(text, field))
    if (
        not path.is_absolute()
        or ".." in path.parts
        or "\0" in text
        or len(text.encode()) >= PATH_MAX
        or path == Path("/")
    ):
        raise InvalidArgumentError(f"{field} {text[:200]!r} is not an absolute path without '..'")
    return path


def refuse_secrets(secrets: Mapping[str, str]) -> None:
    """This driver asks for none here, so one that comes is a mistake; its name is told, never its value."""
    if secrets:
        raise InvalidArgumentError(f"secrets {', '.join(sorted(secrets))} are unknown here; this call takes none")


def _access(request: csi_pb2.NodeStageVolumeRequest | csi_pb2.NodePublishVolumeRequest) -> Access:
    if not request.HasField("volume_capability"):
        raise InvalidArgumentError("volume_capability is missing; give the one that the volume was published with")
    return parse_capability(request.volume_capability)


def _required(text: str, field: str) -> str:
    if not text:
        raise InvalidArgumentError(f"{field} is missing")
    return text


def _one_of(context: Mapping[str, str], key: str, known: tuple[str, ...]) -> str:
    """The value under `key`, "" where it is absent. Other keys are the CO's own (kubelet adds some)."""
    value = context.get(key, "")
    if value and value not in known:
        raise InvalidArgumentError(f"volume_context {key} {value[:40]!r} is none of {', '.join(known)}")
    return value
