"""What csi-node-dpu is told."""

from dataclasses import dataclass
from uuid import UUID

from dpucsi.config import ServiceConfig, option


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """Options of csi-node-dpu."""

    dpu_uuid: UUID = option("identity of this DPU, which the CSI node_id carries; made once, never changed")
    attacher: str = option("gRPC endpoint of volume-attacher, unix:///path")
