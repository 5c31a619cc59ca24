"""Well-formed requests, each with fields to replace."""

from typing import Any
from uuid import UUID, uuid4

from dpucsi.api.csi.v1 import csi_pb2

MIB = 1024 * 1024
CLUSTER = UUID("6ba7b814-9dad-11d1-80b4-00c04fd430c8")
Modes = csi_pb2.VolumeCapability.AccessMode


def mount(mode: Any = Modes.SINGLE_NODE_WRITER, fs_type: str = "ext4") -> csi_pb2.VolumeCapability:
    return csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(fs_type=fs_type), access_mode=Modes(mode=mode)
    )


def block(mode: Any = Modes.SINGLE_NODE_WRITER) -> csi_pb2.VolumeCapability:
    return csi_pb2.VolumeCapability(block=csi_pb2.VolumeCapability.BlockVolume(), access_mode=Modes(mode=mode))


RWX = block(Modes.MULTI_NODE_MULTI_WRITER)


def size(required: int = 0, limit: int = 0) -> csi_pb2.CapacityRange:
    return csi_pb2.CapacityRange(required_bytes=required, limit_bytes=limit)


def create(**fields: Any) -> csi_pb2.CreateVolumeRequest:
    wanted: dict[str, Any] = {
        "name": f"pvc-{uuid4()}",
        "capacity_range": size(64 * MIB),
        "volume_capabilities": [mount()],
        "parameters": {"backend": "pool-a"},
    } | fields
    return csi_pb2.CreateVolumeRequest(**{key: value for key, value in wanted.items() if value is not None})


def node() -> str:
    return f"worker-1/{uuid4()}"


def publish(volume_id: str, node_id: str | None = None, **fields: Any) -> csi_pb2.ControllerPublishVolumeRequest:
    wanted: dict[str, Any] = {"node_id": node() if node_id is None else node_id, "volume_capability": mount()} | fields
    given = {key: value for key, value in wanted.items() if value is not None}
    return csi_pb2.ControllerPublishVolumeRequest(volume_id=volume_id, **given)
