"""A storage node under test, emulated or real: volumes whose bytes lie in a file that the test can read itself."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi.spdk import SpdkClient, bdev, lvol, nvmf
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.jsonrpc import Params
from dpucsi.testing.ports import free_ports

HOST, STRANGER = "nqn.2024-01.io.dpucsi:host:known", "nqn.2024-01.io.dpucsi:host:stranger"
LVSTORE = "lvs0"
BLOCK_SIZE = 4096


@dataclass(frozen=True)
class Export:
    """A subsystem with `HOST` allowed. `file` holds the bytes of namespace 1; None where that is an lvol."""

    nqn: str
    uuid: str
    serial_number: str
    addresses: tuple[TransportAddress, ...]
    size: int
    bdev_name: str
    file: Path | None = None

    @property
    def nguid(self) -> str:
        """32 lower-case hex digits."""
        return self.uuid.replace("-", "")

    def read(self, offset: int, length: int) -> bytes:
        """What the storage holds now."""
        assert self.file is not None
        with self.file.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def digest(self) -> str:
        """Tells one state of all bytes from another."""
        return hashlib.sha256(self.read(0, self.size)).hexdigest()


class StorageNode:
    """One process with a TCP transport and an lvol store. `start` again after `process.kill()`."""

    def __init__(self, kind: str, folder: Path, core: int = 0) -> None:
        self.process = SpdkProcess(kind, folder, core)
        self.spdk = SpdkClient(self.process.endpoint, name=f"storage node {folder.name}")

    async def start(self) -> None:
        """Starts the process; returns when its transport is there."""
        self.process.start()
        await nvmf.nvmf_create_transport(self.spdk, trtype="TCP")

    async def close(self) -> None:
        """Ends process and client."""
        self.process.stop()
        await self.spdk.close()

    async def export_file(self, mib: int, *, listeners: int = 1, ana_reporting: bool = True) -> Export:
        """A new volume over a file of its own, shown to `HOST` at `listeners` addresses."""
        name = f"file{uuid4().hex[:8]}"
        file = self.process.image(name, mib)
        await self._open(name, file)
        return await self.show(self._new(name, mib, listeners, file), ana_reporting=ana_reporting)

    async def reopen(self, export: Export) -> None:
        """After a kill: the bdev over the file that is still there."""
        assert export.file is not None
        await self._open(export.bdev_name, export.file)

    async def export_lvol(self, mib: int, *, listeners: int = 1) -> Export:
        """A new thin lvol, which can grow, shown to `HOST`."""
        if not await lvol.bdev_lvol_get_lvstores(self.spdk):
            await self._make_lvstore()
        name = await self.create_lvol(mib)
        return await self.show(self._new(name, mib, listeners))

    async def create_lvol(self, mib: int) -> str:
        """A thin lvol that nobody sees; its bdev's name."""
        return await lvol.bdev_lvol_create(
            self.spdk, lvs_name=LVSTORE, lvol_name=uuid4().hex, size_in_mib=mib, thin_provision=True
        )

    async def show(self, export: Export, *, ana_reporting: bool = True) -> Export:
        """Makes the subsystem of `export`, as for the first time or after a kill."""
        nqn = export.nqn
        await nvmf.nvmf_create_subsystem(
            self.spdk, nqn=nqn, serial_number=export.serial_number, ana_reporting=ana_reporting
        )
        await self.add_namespace(export, 1, export.bdev_name, export.uuid)
        await nvmf.nvmf_subsystem_add_host(self.spdk, nqn=nqn, host=HOST)
        for address in export.addresses:
            await nvmf.nvmf_subsystem_add_listener(self.spdk, nqn=nqn, address=address)
        return export

    async def add_namespace(self, export: Export, nsid: int, bdev_name: str, uuid: str) -> None:
        """Shows one more bdev; its NGUID has the bits of its uuid."""
        nguid = uuid.replace("-", "").upper()
        await nvmf.nvmf_subsystem_add_ns(
            self.spdk, nqn=export.nqn, bdev_name=bdev_name, nsid=nsid, uuid=uuid, nguid=nguid
        )

    async def hosts_connected(self, export: Export) -> list[str]:
        """Host NQNs of the sessions that the target sees now."""
        seen = await nvmf.nvmf_subsystem_get_controllers(self.spdk, nqn=export.nqn)
        return sorted(session.hostnqn for session in seen)

    async def _open(self, name: str, file: Path) -> None:
        # Without `fallocate` SPDK refuses to discard what lies in a file.
        params: Params = {"name": name, "filename": str(file), "block_size": BLOCK_SIZE, "fallocate": True}
        await self.spdk.call("bdev_aio_create", params)

    def _new(self, bdev_name: str, mib: int, listeners: int, file: Path | None = None) -> Export:
        uuid = str(uuid4())
        addresses = tuple(TransportAddress("TCP", "127.0.0.1", str(port), "IPv4") for port in free_ports(listeners))
        nqn = f"nqn.2024-01.io.dpucsi:vol:{uuid}"
        return Export(nqn, uuid, uuid.replace("-", "")[:20], addresses, mib << 20, bdev_name, file)

    async def _make_lvstore(self) -> None:
        disk = self.process.image("disk0.img", 512)
        await bdev.bdev_aio_create(self.spdk, name="disk0", filename=str(disk), block_size=BLOCK_SIZE)
        await lvol.bdev_lvol_create_lvstore(
            self.spdk, bdev_name="disk0", lvs_name=LVSTORE, cluster_sz=1 << 20, clear_method="none"
        )
