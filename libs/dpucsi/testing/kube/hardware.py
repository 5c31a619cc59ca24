"""What stands outside the cluster: two storage nodes, two DPUs' SPDKs, and the cards that their Hosts see.

All of them are processes of this machine in the lab's network namespace. A DPU's SPDK sees its card's folder where the
DPU's Node sees it, since both of them name functions of the card by path.
"""

import json
import os
import sys
from pathlib import Path
from uuid import UUID

from dpucsi.spdk import SpdkClient
from dpucsi.spdk.lvol import bdev_lvol_create_lvstore, bdev_lvol_get_lvstores
from dpucsi.testing.kube import namespace_init
from dpucsi.testing.kube.netns import NetworkNamespace, Relay
from dpucsi.testing.kube.process import LastingProcess
from dpucsi.testing.lab import listening

STORAGES = {"storage-a": "10.99.0.31", "storage-b": "10.99.0.32"}
SPDKS = ("spdk-a", "spdk-b")
CARDS = ("card-a", "card-b")
RPC_PORT = 5260
LVSTORE = "lvs0"
STORE_BYTES = 16 << 30  # sparse
CARD_PLACE = "/run/dpucsi-card"
SPDK_PLACE = "/run/spdk"
_DISK_UUIDS = {
    "storage-a": UUID("2f6f2f60-9dad-4d1a-80b4-00c04fd430c8"),
    "storage-b": UUID("2f6f2f61-9dad-4d1a-80b4-00c04fd430c8"),
}


class Hardware:
    """Each has a folder of its name below `root`."""

    def __init__(self, root: Path, network: NetworkNamespace) -> None:
        self._root = root
        self._network = network
        self._relays: dict[str, Relay] = {}
        argv = {
            **{name: self._storage(name) for name in STORAGES},
            **{name: self._card(name) for name in CARDS},
            **{name: self._spdk(name) for name in SPDKS},
        }
        self.processes = {name: LastingProcess(name, root, network.enter(*words)) for name, words in argv.items()}

    def folder(self, name: str) -> Path:
        """The folder of one of them."""
        return self._root / name

    def make(self) -> None:
        """Makes the folders, the storage nodes' disks and the configurations."""
        for name in self.processes:
            self.folder(name).mkdir(exist_ok=True)
        for name in STORAGES:
            disk = self.folder(name) / "disk.img"
            with disk.open("ab") as file:
                file.truncate(STORE_BYTES)
            bdev = {"name": "disk0", "filename": str(disk), "block_size": 4096, "uuid": str(_DISK_UUIDS[name])}
            config = {"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_aio_create", "params": bdev}]}]}
            (self.folder(name) / "config.json").write_text(json.dumps(config))
        for spdk, card in zip(SPDKS, CARDS, strict=True):
            init = {
                "below": str(self._root),
                "folders": {"/run": "", CARD_PLACE: str(self.folder(card))},
                "exec": [sys.executable, "-m", "spdk_emulator", "--rpc", f"unix://{self._socket(spdk)}"],
            }
            (self.folder(spdk) / "init.json").write_text(json.dumps(init))

    def close(self) -> None:
        """Ends what `spdk` has opened."""
        while self._relays:
            self._relays.popitem()[1].close()

    def spdk(self, name: str) -> SpdkClient:
        """A JSON-RPC client of a storage node or of a DPU."""
        if name in STORAGES and name not in self._relays:
            path = self._root / "run" / f"{name}-{os.getpid()}.sock"
            self._relays[name] = Relay(self._network, STORAGES[name], RPC_PORT, path)
        path = self._relays[name].path if name in STORAGES else self._socket(name)
        return SpdkClient(f"unix://{path}", name=name)

    async def make_stores(self) -> None:
        """Makes the lvol store of each storage node, where it is not there yet."""
        for name in STORAGES:
            async with self.spdk(name) as spdk:
                if not await bdev_lvol_get_lvstores(spdk):
                    await bdev_lvol_create_lvstore(spdk, bdev_name="disk0", lvs_name=LVSTORE, cluster_sz=1 << 20)

    async def is_ready(self, name: str) -> bool:
        """True when it answers."""
        if name in STORAGES:
            return await self._network.accepts(STORAGES[name], RPC_PORT)
        if name in SPDKS:
            return listening(f"unix://{self._socket(name)}")
        pid_file = self.folder(name) / "card.pid"  # it writes its pid when it has cleared what an earlier one left
        return pid_file.exists() and pid_file.read_text().strip() == str(self.processes[name].pid)

    def _socket(self, spdk: str) -> Path:
        return self.folder(spdk) / "spdk.sock"

    def _storage(self, name: str) -> list[str]:
        config = self.folder(name) / "config.json"
        endpoint = f"tcp://{STORAGES[name]}:{RPC_PORT}"
        return [sys.executable, "-m", "spdk_emulator", "--rpc", endpoint, "--json", str(config)]

    def _card(self, name: str) -> list[str]:
        return [sys.executable, "-m", "emulated_card", "--folder", str(self.folder(name))]

    def _spdk(self, name: str) -> list[str]:
        enter = ("unshare", "--mount", "--propagation", "slave", "--")
        return [*enter, sys.executable, "-S", "-B", namespace_init.__file__, str(self.folder(name) / "init.json")]
