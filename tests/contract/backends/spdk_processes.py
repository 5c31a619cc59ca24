"""SPDK processes for these contract tests: the emulator always, a real spdk_tgt where SPDK_TGT names one."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from dpucsi.aio import limit
from dpucsi.errors import DpucsiError
from dpucsi.model import AttachSpec
from dpucsi.spdk import SpdkClient, bdev, lvol
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.nvme import (
    ENABLED,
    bdev_nvme_attach_controller,
    bdev_nvme_detach_controller,
    find_nvme_controller,
)
from dpucsi.testing.process import LabProcess
from dpucsi.testing.spdk_command import real_spdk, spdk_command

EMULATOR = "emulator"
SPDK_TGT = "spdk_tgt"
KINDS = (EMULATOR, SPDK_TGT) if real_spdk() else (EMULATOR,)
LVSTORE = "lvs0"
STORE_BYTES = 8 << 30
START_S = 15.0


class Spdk:
    """One SPDK process with its own socket, in a folder of its own."""

    def __init__(self, kind: str, folder: Path, name: str) -> None:
        self.rpc = f"unix://{folder}/{name}.sock"
        self.folder = folder
        argv = spdk_command(folder / f"{name}.sock", spdk_tgt=None if kind == EMULATOR else real_spdk())
        self.process = LabProcess(f"{name} ({kind})", argv, folder / f"{name}.log")

    async def start(self) -> None:
        """Returns when it answers."""
        self.process.start()
        async with SpdkClient(self.rpc) as client:
            with limit(START_S):
                try:
                    await bdev.bdev_get_bdevs(client)
                except DpucsiError as failed:
                    raise AssertionError(f"{failed}\n{self.process.complain()}") from failed

    async def load_store(self) -> None:
        """An lvol store over a sparse file; made the first time, found again after a restart."""
        disk = self.folder / "disk0.img"
        new = not disk.exists()
        if new:
            with disk.open("wb") as file:
                file.truncate(STORE_BYTES)
        async with SpdkClient(self.rpc) as client:
            await bdev.bdev_aio_create(client, name="disk0", filename=str(disk), block_size=4096)
            if new:
                await lvol.bdev_lvol_create_lvstore(
                    client, bdev_name="disk0", lvs_name=LVSTORE, cluster_sz=1 << 20, clear_method="none"
                )


@dataclass
class Initiators:
    """dpucsi.testing.backend_conformance.Initiator over several DPUs, for one SPDK shows one volume once."""

    spdks: list[Spdk]
    _sessions: dict[str, tuple[Spdk, str]] = field(default_factory=dict)
    _names: "itertools.count[int]" = field(default_factory=itertools.count)

    async def connect(self, spec: AttachSpec) -> None:
        number = next(self._names)
        spdk, name = self.spdks[number % len(self.spdks)], f"session{number}"
        path = spec.paths[0]
        async with SpdkClient(spdk.rpc) as client:
            await bdev_nvme_attach_controller(
                client,
                name=name,
                address=TransportAddress(path.trtype, path.traddr, path.trsvcid, path.adrfam),
                subnqn=spec.subnqn,
                hostnqn=spec.hostnqn,
                ctrlr_loss_timeout_sec=-1,
                reconnect_delay_sec=1,
            )
        self._sessions[spec.hostnqn] = (spdk, name)

    async def connected(self, spec: AttachSpec) -> bool:
        spdk, name = self._sessions[spec.hostnqn]
        async with SpdkClient(spdk.rpc) as client:
            controller = await find_nvme_controller(client, name)
        return controller is not None and any(path.state == ENABLED for path in controller.paths)

    async def disconnect_all(self) -> None:
        for spdk, name in self._sessions.values():
            async with SpdkClient(spdk.rpc) as client:
                await bdev_nvme_detach_controller(client, name=name)
        self._sessions.clear()
