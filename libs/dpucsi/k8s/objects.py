"""The few fields of Kubernetes objects that matter here, out of the JSON of the API server. No I/O.

A cluster has thousands of these objects, so a reader keeps the fields and lets go of the rest; objects that are not of
our driver read as None.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dpucsi.k8s.api import Json

PREFIX = "csi.dpucsi.io/"
DPU_ENDPOINT = f"{PREFIX}dpu-endpoint"
DPU_NODE = f"{PREFIX}dpu-node"


@dataclass(frozen=True, slots=True)
class VolumeAttachment:
    """A volume at a node, or on its way there or back. `metadata`: the publish_context, once `attached`."""

    name: str
    uid: str
    node: str
    volume: str  # the name of its PersistentVolume
    attached: bool
    deleting: bool
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def stands(self) -> bool:
        """The volume is wanted there, and nobody has begun to take it away."""
        return self.attached and not self.deleting


@dataclass(frozen=True, slots=True)
class PersistentVolume:
    """`volume_id` is CSI's; `shared`: more than one node may have it at the same time."""

    name: str
    volume_id: str
    shared: bool


@dataclass(frozen=True, slots=True)
class CsiNode:
    """What our driver said of itself on one node."""

    name: str
    node_id: str


@dataclass(frozen=True, slots=True)
class Node:
    """How a Host names its DPU: an endpoint, or another node. "" where it does not."""

    name: str
    internal_ip: str
    dpu_endpoint: str
    dpu_node: str


def attachment_of(driver: str) -> Callable[[Json], VolumeAttachment | None]:
    """Reads a VolumeAttachment of `driver`; inline volumes, which it has none of, read as None."""

    def parse(found: Json) -> VolumeAttachment | None:
        meta, spec, status = found["metadata"], found["spec"], found.get("status", {})
        volume = spec.get("source", {}).get("persistentVolumeName", "")
        if spec.get("attacher") != driver or not volume:
            return None
        return VolumeAttachment(
            name=meta["name"],
            uid=meta.get("uid", ""),
            node=spec.get("nodeName", ""),
            volume=volume,
            attached=status.get("attached") is True,
            deleting="deletionTimestamp" in meta,
            metadata=status.get("attachmentMetadata") or {},
        )

    return parse


def volume_of(driver: str) -> Callable[[Json], PersistentVolume | None]:
    """Reads a PersistentVolume of `driver`."""

    def parse(found: Json) -> PersistentVolume | None:
        spec = found["spec"]
        source = spec.get("csi") or {}
        if source.get("driver") != driver:
            return None
        shared = any(mode.endswith("Many") for mode in spec.get("accessModes") or [])
        return PersistentVolume(found["metadata"]["name"], source.get("volumeHandle", ""), shared)

    return parse


def csi_node_of(driver: str) -> Callable[[Json], CsiNode | None]:
    """Reads the CSINode of a node where `driver` is registered."""

    def parse(found: Json) -> CsiNode | None:
        for one in found["spec"].get("drivers") or []:
            if one.get("name") == driver:
                return CsiNode(found["metadata"]["name"], one.get("nodeID", ""))
        return None

    return parse


def node_of(found: Json) -> Node:
    """Reads a Node. An annotation wins over a label of the same name: its value may be longer."""
    meta = found["metadata"]
    said = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    addresses = found.get("status", {}).get("addresses") or []
    internal = [one.get("address", "") for one in addresses if one.get("type") == "InternalIP"]
    return Node(meta["name"], internal[0] if internal else "", said.get(DPU_ENDPOINT, ""), said.get(DPU_NODE, ""))
