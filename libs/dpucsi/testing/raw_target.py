"""A process whose NVMe/TCP target raw peers talk to: two subsystems with a namespace in memory, open to everybody."""

import asyncio
from pathlib import Path
from typing import Self

from dpucsi.spdk import SpdkClient, bdev, nvmf
from dpucsi.spdk.address import TransportAddress
from dpucsi.testing.ports import free_port
from dpucsi.testing.process import LabProcess
from dpucsi.testing.raw_peer import RawPeer
from dpucsi.testing.spdk_command import spdk_command

SUBNQN, CANARY_SUBNQN = "nqn.2024-01.io.dpucsi:raw", "nqn.2024-01.io.dpucsi:raw:canary"
HOSTNQN = "nqn.2024-01.io.dpucsi:raw:host"
BLOCK_SIZE, NUM_BLOCKS = 4096, 4096


class RawTarget:
    """An emulator, or the real `spdk_tgt` that is given."""

    def __init__(self, folder: Path, *, spdk_tgt: Path | None = None) -> None:
        socket = folder / "spdk.sock"
        self.process = LabProcess("target", spdk_command(socket, spdk_tgt=spdk_tgt), folder / "log")
        self._spdk = SpdkClient(f"unix://{socket}", name="target")
        self.port = free_port()

    async def start(self) -> Self:
        """Returns when hosts may connect."""
        self.process.start()
        address = TransportAddress("TCP", "127.0.0.1", str(self.port), "IPv4")
        await nvmf.nvmf_create_transport(self._spdk, trtype="TCP")
        for number, nqn in enumerate((SUBNQN, CANARY_SUBNQN)):
            name = f"memory{number}"
            await bdev.bdev_malloc_create(self._spdk, name=name, num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
            await nvmf.nvmf_create_subsystem(self._spdk, nqn=nqn, serial_number="RAW", allow_any_host=True)
            await nvmf.nvmf_subsystem_add_ns(self._spdk, nqn=nqn, bdev_name=name, nsid=1)
            await nvmf.nvmf_subsystem_add_listener(self._spdk, nqn=nqn, address=address)
        return self

    async def stop(self) -> None:
        """Ends it; raises where it does not end in order."""
        await self._spdk.close()
        code = await asyncio.to_thread(self.process.stop)
        if code:
            raise RuntimeError(f"the target ended with {code}: {self.process.complain()}")

    async def open(self, *, receive_buffer: int = 0) -> RawPeer:
        """A connection on which nothing was said."""
        return await RawPeer.open("127.0.0.1", self.port, receive_buffer=receive_buffer)

    async def admin_queue(self, *, subnqn: str = SUBNQN, digests: int = 0) -> tuple[RawPeer, int]:
        """A connected and enabled admin queue, and its controller's id."""
        peer = await self.open()
        await peer.initialize(digests=digests)
        cntlid = await peer.connect(subnqn, HOSTNQN)
        await peer.enable()
        return peer, cntlid

    async def io_queue(
        self, cntlid: int, *, subnqn: str = SUBNQN, digests: int = 0, receive_buffer: int = 0
    ) -> RawPeer:
        """A connected I/O queue of this controller."""
        peer = await self.open(receive_buffer=receive_buffer)
        await peer.initialize(digests=digests)
        await peer.connect(subnqn, HOSTNQN, qid=1, cntlid=cntlid)
        return peer

    async def sessions(self) -> int:
        """How many controllers there are now, but for the canary's."""
        return len(await nvmf.nvmf_subsystem_get_controllers(self._spdk, nqn=SUBNQN))

    def open_files(self) -> int:
        """How many descriptors the process has."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident(self) -> int:
        """Bytes of memory that the process has now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096


class Canary:
    """A controller beside those that misbehave: its I/O must go on, right and quick, whatever happens to the others."""

    def __init__(self, admin: RawPeer, queue: RawPeer) -> None:
        self._admin, self._queue = admin, queue
        self._count = 0

    @classmethod
    async def connect(cls, target: RawTarget) -> Self:
        """To a subsystem of its own: whatever the others write, its bytes are its own."""
        admin, cntlid = await target.admin_queue(subnqn=CANARY_SUBNQN)
        return cls(admin, await target.io_queue(cntlid, subnqn=CANARY_SUBNQN))

    async def sing(self) -> float:
        """One write and one read of it; the seconds that both took. Raises NoAnswerError, or AssertionError."""
        self._count += 1
        data = self._count.to_bytes(4, "little") * (2 * BLOCK_SIZE // 4)
        began = asyncio.get_running_loop().time()
        assert await self._queue.write(0, data) == (0, 0)
        assert await self._queue.read(0, len(data)) == data
        return asyncio.get_running_loop().time() - began

    def close(self) -> None:
        """Leaves."""
        self._queue.close()
        self._admin.close()
