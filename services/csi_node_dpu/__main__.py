"""Runs csi-node-dpu."""

from csi_node_dpu.app import serve_csi_node_dpu
from csi_node_dpu.config import Config
from dpucsi.process import run_service


def main() -> None:
    """The console script `csi-node-dpu`."""
    run_service("csi-node-dpu", "The counterpart of csi-node-host on its DPU.", Config, serve_csi_node_dpu)


if __name__ == "__main__":
    main()
