"""What one csi-node-host is told."""

from dataclasses import dataclass
from pathlib import Path

from dpucsi.config import ServiceConfig, option
from dpucsi.csi.identity import DRIVER_NAME, driver_name
from dpucsi.errors import InvalidArgumentError
from dpucsi.rpc import Endpoint


def node_name(text: str) -> str:
    """A Kubernetes node name, or whatever else the CO calls this Host; it becomes a part of the CSI node_id."""
    if not text or "/" in text or not text.isprintable() or len(text.encode()) > 192:
        raise InvalidArgumentError(f"node name {text[:80]!r} is empty, longer than 192 bytes, or holds '/'")
    return text


def dpu_endpoint(text: str) -> Endpoint | None:
    """None for `node`: it stands in the Node object."""
    return None if text == "node" else Endpoint.parse(text)


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """Options beside those of every service. The tls_* files serve for calls to the DPU as well."""

    dpu: Endpoint | None = option(
        "gRPC endpoint of csi-node-dpu on this Host's DPU, tcp://host:port; or `node`: what this Host's Node object in "
        "Kubernetes says (label csi.dpucsi.io/dpu-node, or annotation csi.dpucsi.io/dpu-endpoint)",
        parse=dpu_endpoint,
    )
    dpu_port: int = option("--dpu node: port of csi-node-dpu on a DPU that is named by its Node", default=50051)
    dpu_tls_name: str = option(
        "name that the DPU's certificate must have; empty: the host of its endpoint. DPUs that are named by their "
        "Nodes are called by address, and share a name rather than have every address in a certificate",
        default="",
    )
    kubeconfig: Path | None = option("--dpu node: kubeconfig to use instead of the pod's service account", default=None)
    node: str = option("name of this Host as the CO knows it; the first half of the CSI node_id", parse=node_name)
    state: Path = option(
        "file of this Host's volume records; on the Host's own disk, where it outlives the container",
        default=Path("/var/lib/dpucsi/csi-node-host.db"),
    )
    sysfs: Path = option(
        "root of the kernel's device tree; another one only with an emulated DPU", default=Path("/sys")
    )
    dev: Path = option("folder of the device nodes; another one only with an emulated DPU", default=Path("/dev"))
    disk_wait: float = option(
        "seconds that a disk may take to appear or to go; native PCIe hot-unplug takes 6", default=30.0
    )
    driver_name: str = option("CSI driver name", default=DRIVER_NAME, parse=driver_name)
    forgotten_after: float = option(
        "seconds between two looks for what nobody will unstage, to be given back to the DPU: attachments of an "
        "earlier boot of this Host that were not staged again and, with --dpu node, volumes that are not published "
        "here any more; longer than kubelet takes to start its pods after a boot",
        default=120.0,
    )
