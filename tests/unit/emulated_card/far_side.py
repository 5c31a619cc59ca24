"""An SPDK for the card, in memory: serves namespaces behind the sockets of functions; dies, comes back, stalls."""

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from dpucsi.nvme_tcp.host_queue import ConnectionLostError
from dpucsi.nvme_tcp.status import INVALID_NAMESPACE, NvmeError
from emulated_card.controller import Controller

BLOCK = 4096


@dataclass
class MemoryNamespace:
    """`failing`: every command is refused so. `is_stuck`: no command is answered. `keeps_unmapped`: as a clone
    keeps what is its parent's."""

    uuid: str
    data: bytearray
    block_size: int = BLOCK
    is_read_only: bool = False
    failing: NvmeError | None = None
    is_stuck: bool = False
    keeps_unmapped: bool = False
    log: list[tuple[str, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, uuid: UUID, size: int, **more: bool) -> "MemoryNamespace":
        return cls(str(uuid), bytearray(size), **more)  # type: ignore[arg-type]

    @property
    def nguid(self) -> str:
        return UUID(self.uuid).hex

    @property
    def num_blocks(self) -> int:
        return len(self.data) // self.block_size

    async def take(self, what: str, offset: int = 0, length: int = 0) -> None:
        self.log.append((what, offset, length))
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.failing is not None:
            raise self.failing


class MemoryController:
    """One session. What is in flight when it is cut ends with ConnectionLostError."""

    def __init__(
        self,
        subnqn: str,
        served: dict[int, MemoryNamespace],
        on_namespaces: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.subnqn = subnqn
        self.serial_number = "0123456789"
        self.model_number = "a model"
        self.cntlid = 1
        self._served = served
        self.on_namespaces = on_namespaces
        self._on_lost = on_lost
        self._is_over = False
        self._running: set[asyncio.Task[object]] = set()

    @property
    def namespaces(self) -> dict[int, MemoryNamespace]:
        return self._served

    def cut(self) -> None:
        """From the far side."""
        if not self._is_over:
            self.abort()
            self._on_lost()

    def abort(self) -> None:
        self._is_over = True
        for task in self._running:
            task.cancel("cut")

    async def disconnect(self) -> None:
        self.abort()

    async def read(self, nsid: int, offset: int, length: int) -> bytes:
        namespace = await self._take(nsid, "read", offset, length)
        return bytes(memoryview(namespace.data)[offset : offset + length])

    async def write(self, nsid: int, offset: int, data: bytes) -> None:
        namespace = await self._take(nsid, "write", offset, len(data))
        memoryview(namespace.data)[offset : offset + len(data)] = data

    async def flush(self, nsid: int) -> None:
        await self._take(nsid, "flush", 0, 0)

    async def write_zeroes(self, nsid: int, offset: int, length: int) -> None:
        namespace = await self._take(nsid, "write_zeroes", offset, length)
        namespace.data[offset : offset + length] = bytes(length)

    async def unmap(self, nsid: int, offset: int, length: int) -> None:
        namespace = await self._take(nsid, "unmap", offset, length)
        if not namespace.keeps_unmapped:
            namespace.data[offset : offset + length] = bytes(length)

    async def _take(self, nsid: int, what: str, offset: int, length: int) -> MemoryNamespace:
        if self._is_over:
            raise ConnectionLostError("cut")
        if nsid not in self._served:
            raise NvmeError(INVALID_NAMESPACE, dnr=True)
        namespace = self._served[nsid]
        if namespace.is_stuck:
            await self._stuck(namespace, what, offset, length)
        else:
            await namespace.take(what, offset, length)
        return namespace

    async def _stuck(self, namespace: MemoryNamespace, what: str, offset: int, length: int) -> None:
        waiting = asyncio.ensure_future(namespace.take(what, offset, length))
        self._running.add(waiting)
        try:
            await waiting
        except asyncio.CancelledError as cancelled:
            if self._is_over and not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise ConnectionLostError("cut") from cancelled
            raise
        finally:
            waiting.cancel()
            self._running.discard(waiting)


class FarSide:
    """Listens in `functions`; `namespaces`: by function and nsid. They outlive its death, as an lvol does. `refused`:
    when it was tried and nobody listened, in the loop's seconds."""

    def __init__(self, functions: Path) -> None:
        self._functions = functions
        self.subnqn = "nqn.2024-01.io.example:host-disks"
        self.namespaces: dict[str, dict[int, MemoryNamespace]] = {}
        self.sessions: dict[str, MemoryController] = {}
        self.connected = asyncio.Event()
        self.refused: list[float] = []
        self._listeners: dict[str, socket.socket] = {}

    def listen(self, function: str, **namespaces: MemoryNamespace) -> None:
        """`namespaces` are named n<nsid>. What a dead one left is cleared first, as whoever configures SPDK does."""
        folder = self._functions / function
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cntrl").unlink(missing_ok=True)
        for name, namespace in namespaces.items():
            self.namespaces.setdefault(function, {})[int(name[1:])] = namespace
        self.namespaces.setdefault(function, {})
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(folder / "cntrl"))
        self._listeners[function] = listener

    def remove_listener(self, function: str) -> None:
        (self._functions / function / "cntrl").unlink()
        self._listeners.pop(function).close()
        if function in self.sessions:
            self.sessions.pop(function).cut()

    def die(self) -> None:
        """The sockets stay in their folders."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for session in list(self.sessions.values()):
            session.cut()
        self.sessions.clear()

    def close(self) -> None:
        self.die()
        for socket_file in self._functions.glob("*/cntrl"):
            socket_file.unlink()

    def add(self, function: str, nsid: int, namespace: MemoryNamespace) -> None:
        self.namespaces[function][nsid] = namespace
        self.changed(function)

    def drop(self, function: str, nsid: int) -> None:
        del self.namespaces[function][nsid]
        self.changed(function)

    def changed(self, function: str) -> None:
        """The controller tells of its namespaces."""
        if function in self.sessions:
            self.sessions[function].on_namespaces()

    async def connect(
        self, path: Path, *, on_namespaces: Callable[[], None], on_lost: Callable[[], None]
    ) -> Controller:
        function = path.parent.name
        if function not in self._listeners:
            self.refused.append(asyncio.get_running_loop().time())
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        session = MemoryController(self.subnqn, self.namespaces[function], on_namespaces, on_lost)
        self.sessions[function] = session
        self.connected.set()
        return session
