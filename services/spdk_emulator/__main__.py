"""Runs spdk-emulator."""

from dpucsi.process import run_service
from spdk_emulator.app import serve_spdk_emulator
from spdk_emulator.config import Config


def main() -> None:
    """The console script `spdk-emulator`."""
    run_service(
        "spdk-emulator",
        "Stands for SPDK, and for a DPU's card, where neither is at hand: storage node or DPU of a lab.",
        Config,
        serve_spdk_emulator,
    )


if __name__ == "__main__":
    main()
