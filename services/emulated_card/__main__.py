"""Runs emulated-card."""

from dpucsi.process import run_service
from emulated_card.app import serve_emulated_card
from emulated_card.config import Config


def main() -> None:
    """The console script `emulated-card`."""
    run_service(
        "emulated-card",
        "Stands for a DPU's card: shows what SPDK offers on its functions as the Host's PCIe NVMe disks.",
        Config,
        serve_emulated_card,
    )


if __name__ == "__main__":
    main()
