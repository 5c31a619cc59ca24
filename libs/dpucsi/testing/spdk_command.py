"""How an SPDK process of a lab is started: the emulator, or a real spdk_tgt."""

import os
import sys
from pathlib import Path

# No huge pages and no PCI: it runs anywhere, as root. Less memory fails when iSCSI starts. Several share a core.
_REAL = ("--no-huge", "-s", "1024", "--no-pci", "--iova-mode=va", "--disable-cpumask-locks")
# It polls and takes all of its core. A service that wakes up there must not wait for the end of its time slice.
_POLITE = ("nice", "-n", "19")


def real_spdk() -> Path | None:
    """The spdk_tgt that the environment's SPDK_TGT names, if any."""
    named = os.environ.get("SPDK_TGT")
    return Path(named) if named else None


def spdk_command(socket: Path, *, spdk_tgt: Path | None = None, core: int = 0, json: Path | None = None) -> list[str]:
    """The command line of one process that serves JSON-RPC on `socket`.

    `json` is its start-up configuration; `core` is for a real one. Two real ones on one core look at their sockets
    every 16 ms instead of 4: give each its own where time matters.
    """
    config = ["--json", str(json)] if json else []
    if spdk_tgt is not None:
        mask = hex(1 << core % (os.cpu_count() or 1))
        return [*_POLITE, str(spdk_tgt), *_REAL, "-m", mask, "-r", str(socket), *config]
    return [sys.executable, "-m", "spdk_emulator", "--rpc", f"unix://{socket}", *config]
