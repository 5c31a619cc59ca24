"""Runs volume-attacher."""

from dpucsi.process import run_service
from volume_attacher.app import serve_volume_attacher
from volume_attacher.config import Config


def main() -> None:
    """The console script `volume-attacher`."""
    run_service(
        "volume-attacher",
        "Brings volumes to the PCIe functions of this DPU through OPI.",
        Config,
        serve_volume_attacher,
    )


if __name__ == "__main__":
    main()
