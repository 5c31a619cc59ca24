"""What csi-controller is told."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dpucsi.config import ServiceConfig, option
from dpucsi.csi.identity import DRIVER_NAME, driver_name


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """The options of csi-controller."""

    cluster_id: UUID = option(
        "UUID of the Kubernetes cluster (that of its kube-system namespace, say); every volume's identity comes from "
        "it and the volume's name, so it must never change"
    )
    backends: Path = option(
        "TOML file of storage backends, a table each: [pool-a] with type, and the keys of that type; spdk-lvol has "
        "rpc, lvstore, listeners (docs/adding-a-storage-backend.md explains them)"
    )
    driver_name: str = option(
        "CSI driver name; as --driver-name of csi-node-host", default=DRIVER_NAME, parse=driver_name
    )
