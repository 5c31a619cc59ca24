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
    kubernetes: bool = option(
        "use Kubernetes beside CSI: bring back the exports that a storage node forgot, as the VolumeAttachments record "
        "them, and report orphans",
        default=False,
    )
    kubeconfig: Path | None = option(
        "--kubernetes: kubeconfig to use instead of the pod's service account", default=None
    )
    leader_election: bool = option(
        "--kubernetes: act only while the external-attacher of this pod holds its Lease; without it only where there "
        "is one replica, whose external-attacher runs without leader election",
        default=True,
    )
    namespace: str = option("--kubernetes: where the external-attacher has its Lease; empty: this pod's", default="")
    orphan_report: float = option(
        "--kubernetes: seconds between two reports of what the storage and Kubernetes do not agree about; what both "
        "of two looks find is reported, so that work in progress is not",
        default=3600.0,
    )
