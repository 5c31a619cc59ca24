"""One small file per family of methods. Importing this package fills the table (spdk_emulator.rpc.table)."""

from spdk_emulator.methods import (
    aio,
    bdev,
    faults,
    framework,
    lvol,
    lvstore,
    malloc,
    notify,
    nvme,
    nvmf_host,
    nvmf_listener,
    nvmf_namespace,
    nvmf_subsystem,
    nvmf_transport,
)

__all__ = [
    "aio",
    "bdev",
    "faults",
    "framework",
    "lvol",
    "lvstore",
    "malloc",
    "notify",
    "nvme",
    "nvmf_host",
    "nvmf_listener",
    "nvmf_namespace",
    "nvmf_subsystem",
    "nvmf_transport",
]
