"""`python -m csi_controller`, and the console script csi-controller."""

from csi_controller.app import serve_csi_controller
from csi_controller.config import Config
from dpucsi.process import run_service


def main() -> None:
    """Runs until SIGTERM."""
    run_service(
        "csi-controller",
        "CSI Identity and Controller service: creates volumes on storage backends and publishes them to DPUs. "
        "It keeps no state: give every replica the same options.",
        Config,
        serve_csi_controller,
    )


if __name__ == "__main__":
    main()
