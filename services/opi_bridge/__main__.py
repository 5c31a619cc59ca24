"""`python -m opi_bridge`, and the console script opi-bridge."""

from dpucsi.process import run_service
from opi_bridge.app import serve_opi_bridge
from opi_bridge.config import Config


def main() -> None:
    """Runs the service."""
    run_service("opi-bridge", "The OPI storage API on SPDK, for one DPU.", Config, serve_opi_bridge)


if __name__ == "__main__":
    main()
