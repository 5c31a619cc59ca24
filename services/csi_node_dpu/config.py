"""What csi-node-dpu is told."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dpucsi.config import ServiceConfig, option
from dpucsi.store import identity_option


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """Options of csi-node-dpu."""

    dpu_uuid: UUID | Path = option(
        "identity of this DPU, which the CSI node_id carries: a UUID, or the absolute path of a file that holds it and "
        "is made at the first start; it must never change",
        parse=identity_option,
    )
    attacher: str = option("gRPC endpoint of volume-attacher, unix:///path")
