"""A whole lab on one machine: a storage node, a DPU with its card, and the five services, as processes.

`make quickstart`, the kill tests, csi-sanity and the benchmarks all run this one. With the emulator a Host disk is what
the emulated card shows under the lab's own folder; with a real `spdk_tgt` (`Lab(spdk_tgt=...)`) everything up to the
DPU's host-facing subsystem is real, and there is no Host disk, since no card is there to show one.
"""

import json
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from dpucsi.aio import wait_until
from dpucsi.errors import UnavailableError
from dpucsi.rpc import Endpoint, channel
from dpucsi.rpc.tls import TlsFiles
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.lvol import bdev_lvol_create_lvstore, bdev_lvol_get_lvstores
from dpucsi.testing.certificates import Certificates
from dpucsi.testing.leftovers import mounts
from dpucsi.testing.ports import free_ports
from dpucsi.testing.process import LabProcess
from dpucsi.testing.spdk_command import spdk_command

CLUSTER_ID = UUID("6ba7b814-9dad-11d1-80b4-00c04fd430c8")
DPU_UUID = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
DISK_UUID = UUID("6ba7b815-9dad-11d1-80b4-00c04fd430c8")
NODE = "lab-node"
BACKEND = "pool-a"
LVSTORE = "lvs0"
STORE_BYTES = 8 << 30
SHARED_FUNCTION = "port0-pf0=0000:3b:00.0"
EXCLUSIVE_FUNCTIONS = ("port0-pf0-vf1=0000:3b:00.1", "port0-pf0-vf2=0000:3b:00.2")

SPDKS = ("storage", "dpu")
CARD = "card"
SERVICES = ("opi-bridge", "volume-attacher", "csi-node-dpu", "csi-node-host", "csi-controller")
START_S = 30.0
UNMOUNT_S = 10.0  # one that takes longer waits for a disk that nobody serves any more


@dataclass
class Lab:
    """Everything lies under `root`, which should be short: unix socket paths have at most 107 bytes.

    `extra` appends options to a command line, by process name; `python` is the interpreter that the services run with.
    """

    root: Path
    spdk_tgt: Path | None = None
    driver: str = "emulated"
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    python: str = sys.executable

    def __post_init__(self) -> None:
        for folder in ("log", "run", "state", "storage", "card", "vfio"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self.certificates = Certificates.make(self.root / "tls")
        self.node_dpu_port, self.storage_port = free_ports(2)
        self.front_end_port = free_ports(1 + len(EXCLUSIVE_FUNCTIONS))[0]  # of the shared one; each has its own
        self._devices = ("storage", CARD, "dpu") if self._has_card else SPDKS
        self.processes = {name: self._process(name) for name in (*self._devices, *SERVICES)}
        with (self.root / "storage" / "disk0.img").open("wb") as disk:
            disk.truncate(STORE_BYTES)
        self._write_storage_config()
        self._write_backends()

    async def up(self) -> None:
        """Starts everything in order and returns when all of it answers."""
        for name in self._devices:
            await self.start(name)
        await self._make_lvstore()
        for name in SERVICES:
            await self.start(name)

    async def start(self, name: str) -> None:
        """Starts one process and returns when it answers."""
        process = self.processes[name]
        process.start()
        await self.ready(name)

    async def ready(self, name: str) -> None:
        """Returns when the process answers; raises UnavailableError with the end of its log when it does not."""
        process = self.processes[name]

        async def answers() -> bool | None:
            if not process.running:
                raise UnavailableError(f"{name} ended at once:\n{process.complain()}")
            is_ready = self._card_is_ready() if name == CARD else listening(self.endpoint(name))
            return is_ready or None

        await wait_until(answers, f"{name} ready", timeout_s=START_S, longest_s=0.05)

    def down(self) -> None:
        """Stops everything in the reverse order, gracefully; what a failure left mounted is unmounted first.

        An unmount may wait for a disk whose SPDK is dead: the card's end fails what waits, and it goes on.
        """
        waiting = self._unmount_volumes()
        for process in reversed(self.processes.values()):
            process.stop()
        for unmounting in waiting:
            unmounting.wait(UNMOUNT_S)
        self._unmount_volumes()

    def _unmount_volumes(self) -> list["subprocess.Popen[bytes]"]:
        """All but the card's own files, which it takes away itself; the unmounts that are not done yet."""
        own = str(self.root / CARD / "disks")
        waiting = []
        for point in reversed([point for point in mounts(self.root) if not point.startswith(own)]):
            unmounting = subprocess.Popen(["umount", point])
            try:
                unmounting.wait(UNMOUNT_S)
            except subprocess.TimeoutExpired:
                waiting.append(unmounting)
        return waiting

    def socket(self, name: str) -> Path:
        """The unix socket of one process."""
        return self.root / "run" / f"{name}.sock"

    def endpoint(self, name: str) -> str:
        """Where one process is reached."""
        if name == "csi-node-dpu":
            return f"tcp://127.0.0.1:{self.node_dpu_port}"
        return f"unix://{self.socket(name)}"

    def channel(self, name: str):  # type: ignore[no-untyped-def]  # grpc.aio.Channel; grpc is not this module's business
        """A gRPC channel to one service."""
        tls = None
        if name == "csi-node-dpu":
            folder = self.certificates.folder
            tls = TlsFiles(folder / "ca.pem", folder / "host.pem", folder / "host.key")
        return channel(Endpoint.parse(self.endpoint(name)), tls)

    def spdk(self, name: str) -> SpdkClient:
        """A JSON-RPC client of "storage" or "dpu"."""
        return SpdkClient(f"unix://{self.socket(name)}", name=name)

    @property
    def sysfs(self) -> Path:
        """The Host's sysfs tree as the emulated card shows it."""
        return self.root / "card" / "sys"

    @property
    def _has_card(self) -> bool:
        return self.spdk_tgt is None and self.driver == "emulated"

    def _card_is_ready(self) -> bool:
        """It writes its pid when it has cleared what an earlier one left."""
        pid_file = self.root / CARD / "card.pid"
        return pid_file.exists() and pid_file.read_text().strip() == str(self.processes[CARD].pid)

    def _process(self, name: str) -> LabProcess:
        if name == CARD:
            argv = [sys.executable, "-m", "emulated_card", "--folder", str(self.root / CARD)]
        else:
            argv = self._spdk(name) if name in SPDKS else self._service(name)
        return LabProcess(name, [*argv, *self.extra.get(name, ())], self.root / "log" / f"{name}.log")

    def _spdk(self, name: str) -> list[str]:
        return spdk_command(
            self.socket(name),
            spdk_tgt=self.spdk_tgt,
            core=SPDKS.index(name),
            json=self.root / "storage" / "config.json" if name == "storage" else None,
        )

    def _service(self, name: str) -> list[str]:
        state = ["--state", str(self.root / "state" / f"{name}.db")]
        own: dict[str, list[str]] = {
            "csi-controller": [
                *("--cluster-id", str(CLUSTER_ID)),
                *("--backends", str(self.root / "backends.toml")),
            ],
            "csi-node-host": [
                *("--dpu", self.endpoint("csi-node-dpu")),
                *("--node", NODE),
                *("--sysfs", str(self.sysfs)),
                *("--dev", str(self.root / "card" / "dev")),
                *self.certificates.options("host"),
                *state,
            ],
            "csi-node-dpu": [
                *("--dpu-uuid", str(DPU_UUID)),
                *("--attacher", self.endpoint("volume-attacher")),
                *self.certificates.options("dpu"),
            ],
            "volume-attacher": [
                *("--opi", self.endpoint("opi-bridge")),
                *("--dpu-uuid", str(DPU_UUID)),
                *("--shared-functions", SHARED_FUNCTION),
                *(word for function in EXCLUSIVE_FUNCTIONS for word in ("--exclusive-functions", function)),
                *state,
            ],
            "opi-bridge": [*("--spdk", self.endpoint("dpu")), *("--driver", self.driver), *self._driver(), *state],
        }
        module = name.replace("-", "_")
        return [self.python, "-m", module, "--listen", self.endpoint(name), *own[name]]

    def _driver(self) -> list[str]:
        functions = ",".join(text.partition("=")[0] for text in (SHARED_FUNCTION, *EXCLUSIVE_FUNCTIONS))
        options = {
            "emulated": [f"card={self.root / 'card'}"],
            "vfio-user": [f"directory={self.root / 'vfio'}"],
            "nvmf-tcp": ["address=127.0.0.1", f"base_port={self.front_end_port}", f"functions={functions}"],
        }[self.driver]
        return [word for text in options for word in ("--driver-option", text)]

    def _write_storage_config(self) -> None:
        filename = str(self.root / "storage" / "disk0.img")
        disk = {"name": "disk0", "filename": filename, "block_size": 4096, "uuid": str(DISK_UUID)}
        config = {"subsystems": [{"subsystem": "bdev", "config": [{"method": "bdev_aio_create", "params": disk}]}]}
        (self.root / "storage" / "config.json").write_text(json.dumps(config))

    def _write_backends(self) -> None:
        (self.root / "backends.toml").write_text(
            f'[{BACKEND}]\ntype = "spdk-lvol"\nrpc = "{self.endpoint("storage")}"\nlvstore = "{LVSTORE}"\n'
            f'listeners = ["tcp://127.0.0.1:{self.storage_port}"]\n'
        )

    async def _make_lvstore(self) -> None:
        async with self.spdk("storage") as spdk:
            if not await bdev_lvol_get_lvstores(spdk):
                await bdev_lvol_create_lvstore(spdk, bdev_name="disk0", lvs_name=LVSTORE, cluster_sz=1 << 20)


def listening(endpoint: str) -> bool:
    """True where something accepts connections at `endpoint`."""
    where = Endpoint.parse(endpoint)
    family = socket.AF_UNIX if where.path else socket.AF_INET
    host, _, port = where.address.rpartition(":")
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(where.path) if where.path else (host, int(port)))
        except OSError:
            return False
    return True
