"""`csi-node-host` on the command line."""

from csi_node_host.app import serve_csi_node_host
from csi_node_host.config import Config
from dpucsi.process import run_service


def main() -> None:
    """Console script."""
    run_service(
        "csi-node-host",
        "CSI Node service of a Host: finds its DPU's disks, formats, mounts and publishes them.",
        Config,
        serve_csi_node_host,
    )


if __name__ == "__main__":
    main()
