"""From the Host's words to the attacher's: a volume_id and a publish_context become one neutral AttachSpec."""

from collections.abc import Mapping
from uuid import UUID

from dpucsi.api.attacher.v1 import attacher_pb2
from dpucsi.csi.publish_context import decode
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import AttachSpec
from dpucsi.naming import VolumeId, dpu_of_hostnqn


def uuid_of(volume_id: str) -> str:
    """The uuid in a volume_id, as the attacher wants it."""
    return str(VolumeId.parse(volume_id).uuid)


def attach_spec(volume_id: str, publish_context: Mapping[str, str], dpu: UUID) -> attacher_pb2.AttachSpec:
    """What this DPU has to attach. Raises InvalidArgumentError where the two contradict each other or this DPU."""
    volume = VolumeId.parse(volume_id)
    spec = decode(publish_context)
    if spec.uuid != volume.uuid:
        raise InvalidArgumentError(
            f"volume_id {volume_id} has uuid {volume.uuid}, but its publish_context {spec.uuid}; pass on what "
            "ControllerPublishVolume returned for this very volume"
        )
    made_for = dpu_of_hostnqn(spec.hostnqn)
    if made_for is not None and made_for != dpu:
        raise InvalidArgumentError(
            f"the publish_context of {volume_id} was made for DPU {made_for}, but this is DPU {dpu}; publish the "
            "volume to this node"
        )
    return _on_wire(spec)


def _on_wire(spec: AttachSpec) -> attacher_pb2.AttachSpec:
    paths = [
        attacher_pb2.TargetPath(trtype=path.trtype, adrfam=path.adrfam, traddr=path.traddr, trsvcid=path.trsvcid)
        for path in spec.paths
    ]
    return attacher_pb2.AttachSpec(
        uuid=str(spec.uuid), subnqn=spec.subnqn, hostnqn=spec.hostnqn, paths=paths, size_bytes=spec.size_bytes
    )
