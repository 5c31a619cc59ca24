"""The host's end of a controller: connects, keeps its namespaces current, reads and writes, notices the end.

Used over TCP by an initiator, and over a unix socket by the emulated card: `dial` makes the connections.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeAlias
from uuid import UUID

import structlog

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command, IoOpcode
from dpucsi.nvme_tcp.fabrics import ANY_CNTLID, Capabilities, Connect, ConnectData, Property
from dpucsi.nvme_tcp.features import AsyncEvent, Feature
from dpucsi.nvme_tcp.host_admin import ASYNC_EVENT_REQUEST, KEEP_ALIVE, HostAdmin
from dpucsi.nvme_tcp.host_io import IoLimits, deallocate, over_blocks
from dpucsi.nvme_tcp.host_namespaces import HostNamespaces, NamespaceIdentity
from dpucsi.nvme_tcp.host_queue import ConnectionLostError, HostQueue
from dpucsi.nvme_tcp.identify import OAES_ANA, OAES_NAMESPACES, Cns, IdentifyController, NvmController
from dpucsi.nvme_tcp.logs import AnaState
from dpucsi.nvme_tcp.status import AUTHENTICATION_REQUIRED, INVALID_NAMESPACE, NvmeError

__all__ = ["AnaState", "ConnectionLostError", "Dial", "HostController", "NamespaceIdentity"]
log = structlog.get_logger(__name__)

Dial: TypeAlias = (
    "Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]]"
)
ADMIN_DEPTH = 32
SHUTDOWN_S = 2.0  # the controller's time to say that it is shut down
IO_QUEUE_S = 10.0  # and to let an I/O queue in that is opened late
AUTHENTICATION = 0b11 << 17  # of the result of Connect: the controller wants to know who we are (Figure 521)


class HostController:
    """One live controller. All methods but `abort` raise NvmeError or ConnectionLostError."""

    def __init__(
        self,
        dial: Dial,
        who: ConnectData,
        *,
        queue_depth: int,
        kato_ms: int,
        hdgst: bool,
        ddgst: bool,
        on_namespaces: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._dial = dial
        self._who = who
        self._depth = queue_depth
        self._kato_ms = kato_ms
        self._hdgst, self._ddgst = hdgst, ddgst
        self._on_namespaces, self._on_lost = on_namespaces, on_lost
        self._queues: list[HostQueue] = []
        self._io: list[HostQueue] = []
        self._opening: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_live = self._is_over = False
        self._turn = 0
        self.subnqn = who.subnqn
        self.cntlid = ANY_CNTLID
        self.version = 0  # the VS property
        self.identity = IdentifyController()

    @classmethod
    async def connect(
        cls,
        dial: Dial,
        *,
        subnqn: str,
        hostnqn: str,
        hostid: UUID,
        io_queues: int = 1,
        queue_depth: int = 128,
        kato_ms: int = 10_000,
        hdgst: bool = False,
        ddgst: bool = False,
        on_namespaces: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> Self:
        """A controller that answers; raises OSError (ConnectionLostError is one) or NvmeError, and leaves nothing open.

        `io_queues` 0: the first I/O opens one. `kato_ms` 0: no keep alive. `on_namespaces`: `namespaces` has changed,
        or an ANA state. `on_lost`: called once, unless we end it; every waiting command raises ConnectionLostError.
        """
        who = ConnectData(hostid.bytes, ANY_CNTLID, subnqn, hostnqn)
        self = cls(
            dial,
            who,
            queue_depth=queue_depth,
            kato_ms=kato_ms,
            hdgst=hdgst,
            ddgst=ddgst,
            on_namespaces=on_namespaces,
            on_lost=on_lost,
        )
        try:
            await self._set_up(io_queues)
        except ValueError as nonsense:
            self.abort()
            raise ConnectionLostError(f"the controller talks nonsense: {nonsense}") from nonsense
        except BaseException:
            self.abort()
            raise
        return self

    @property
    def serial_number(self) -> str:
        """Without trailing blanks."""
        return self.identity.sn

    @property
    def model_number(self) -> str:
        """Without trailing blanks."""
        return self.identity.mn

    @property
    def max_transfer(self) -> int:
        """Bytes that one command moves at most; larger reads and writes are split."""
        return self._limits.max_transfer

    @property
    def is_used(self) -> bool:
        """Whether it has an I/O queue, or was to have one."""
        return bool(self._io) or self._opening is not None

    @property
    def namespaces(self) -> dict[int, NamespaceIdentity]:
        """By nsid, as they are now."""
        return self._namespaces.by_nsid

    def ana_state(self, nsid: int) -> AnaState:
        """Optimized where the controller does not report it, inaccessible where there is no such namespace."""
        return self._namespaces.ana_state(nsid)

    async def read_ana(self) -> None:
        """Asks for the ANA states again, as after a command that was refused for one."""
        await self._namespaces.read_ana()

    async def read(self, nsid: int, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        namespace = self._namespace(nsid)
        found = bytearray(length)
        view = memoryview(found)

        async def one(start: int, size: int) -> None:
            command = over_blocks(IoOpcode.READ, nsid, namespace.block_size, start, size)
            await self._execute(command, into=view[start - offset : start - offset + size])

        await _all([one(*piece) for piece in self._limits.pieces(namespace, offset, length, self.max_transfer)])
        return bytes(found)

    async def write(self, nsid: int, offset: int, data: Buffer) -> None:
        """`data` must be left alone until this returns or raises."""
        namespace = self._namespace(nsid)
        view = memoryview(data)

        async def one(start: int, size: int) -> None:
            command = over_blocks(IoOpcode.WRITE, nsid, namespace.block_size, start, size)
            await self._execute(command, data=view[start - offset : start - offset + size])

        await _all([one(*piece) for piece in self._limits.pieces(namespace, offset, len(view), self.max_transfer)])

    async def flush(self, nsid: int) -> None:
        """What was written before is durable when it returns; nothing to do where there is no write cache."""
        self._namespace(nsid)
        if self._limits.has_write_cache:
            await self._execute(Command(IoOpcode.FLUSH, nsid=nsid))

    async def write_zeroes(self, nsid: int, offset: int, length: int) -> None:
        """As a write of zeroes, which it is where the controller knows no better."""
        namespace = self._namespace(nsid)
        limits = self._limits
        if limits.has_write_zeroes:
            pieces = limits.pieces(namespace, offset, length, limits.max_zeroes)
            commands = [over_blocks(IoOpcode.WRITE_ZEROES, nsid, namespace.block_size, *piece) for piece in pieces]
            await _all([self._execute(command) for command in commands])
        else:
            for start, size in limits.pieces(namespace, offset, length, self.max_transfer):
                await self.write(nsid, start, bytes(size))

    async def unmap(self, nsid: int, offset: int, length: int) -> None:
        """A hint: nothing happens where the controller does not take it."""
        namespace = self._namespace(nsid)
        if self._limits.has_unmap:
            ranges = self._limits.ranges(namespace, offset, length)
            await _all([self._execute(deallocate(nsid), data=one) for one in ranges])

    async def disconnect(self) -> None:
        """Takes leave and closes; never raises. What is in flight ends with ConnectionLostError."""
        if self._is_live and not self._is_over:
            self._is_over = True
            try:
                async with asyncio.timeout(SHUTDOWN_S):
                    await self._admin.shut_down()
            except (OSError, NvmeError) as unheard:
                log.debug("controller did not take note of our leave", subnqn=self.subnqn, error=str(unheard))
            finally:
                self.abort()

    def abort(self) -> None:
        """Closes at once; what is in flight ends with ConnectionLostError, `on_lost` is not called."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()
        for queue in self._queues:
            queue.abort()

    async def _set_up(self, io_queues: int) -> None:
        """NVMe over Fabrics initialization (NVMe Base 2.0, section 3.5.2)."""
        admin_queue = await self._open_queue(0, ADMIN_DEPTH)
        self._admin = HostAdmin(admin_queue)
        self.version = await self._admin.get(Property.VS)
        capabilities = await self._admin.enable()
        self.identity = IdentifyController.decode(await self._admin.identify(Cns.CONTROLLER))
        self.subnqn = self.identity.subnqn or self.subnqn
        self._limits = IoLimits.of(self.identity, await self._nvm_limits())
        self._io_depth = self._agreed_depth(capabilities)
        await self._admin.set_feature(Feature.ASYNC_EVENT_CONFIG, self.identity.oaes & (OAES_NAMESPACES | OAES_ANA))
        granted = await self._admin.request_queues(io_queues)
        self._namespaces = HostNamespaces(self._admin, self.identity)
        await self._namespaces.read_all()
        for _ in range(min(io_queues, granted)):
            await self._open_io_queue()
        if admin_queue.is_lost:
            raise ConnectionLostError("the connection was lost while it was set up")
        self._is_live = True
        self._start(self._watch())
        if self._kato_ms:
            self._start(self._keep_alive(self._kato_ms / 2000))

    async def _open_queue(self, qid: int, depth: int) -> HostQueue:
        queue = HostQueue(depth=depth, hdgst=self._hdgst, ddgst=self._ddgst, on_lost=self._lose)
        self._queues.append(queue)
        await self._dial(lambda: queue)
        await queue.initialized()
        connect = Connect(qid, depth - 1, 0 if qid else self._kato_ms)
        result = await queue.execute(connect.command(), data=self._who.encode())
        if result & AUTHENTICATION:
            raise NvmeError(AUTHENTICATION_REQUIRED, dnr=True)
        if qid == 0:
            self.cntlid = result & 0xFFFF
            self._who = ConnectData(self._who.hostid, self.cntlid, self._who.subnqn, self._who.hostnqn)
        return queue

    async def _open_io_queue(self) -> None:
        queue = await self._open_queue(len(self._io) + 1, self._io_depth)
        queue.in_capsule_size = 0 if self.identity.icdoff else self.identity.in_capsule_data
        self._io.append(queue)

    async def _open_late(self) -> None:
        """The first I/O queue, when it is wanted; a controller that refuses it is of no use any more."""
        try:
            async with asyncio.timeout(IO_QUEUE_S):
                await self._open_io_queue()
        except (OSError, NvmeError) as reason:
            self._lose(f"no I/O queue: {reason}")

    async def _nvm_limits(self) -> NvmController:
        try:
            return NvmController.decode(await self._admin.identify(Cns.IO_CONTROLLER))
        except NvmeError:  # a controller before NVMe 2.0: it has no such limits
            return NvmController()

    def _agreed_depth(self, capabilities: Capabilities) -> int:
        return min(self._depth, capabilities.mqes + 1, self.identity.maxcmd or self._depth)

    def _namespace(self, nsid: int) -> NamespaceIdentity:
        found = self.namespaces.get(nsid)
        if found is None:
            raise NvmeError(INVALID_NAMESPACE, reason=f"no namespace {nsid}")
        return found

    async def _execute(self, command: Command, *, data: Buffer = b"", into: Buffer = b"") -> None:
        """On the I/O queue that has least to do."""
        if not self._io:
            if self._is_over:
                raise ConnectionLostError("not connected")
            if self._opening is None:
                self._opening = self._start(self._open_late())
            await asyncio.wait((self._opening,))  # whoever leaves, it goes on for the others
            if not self._io:
                raise ConnectionLostError("no I/O queue")
        queue = self._io[0] if len(self._io) == 1 else min(self._io, key=lambda one: one.num_in_flight)
        await queue.execute(command, data=data, into=into)

    async def _watch(self) -> None:
        """One asynchronous event at a time: the controller keeps the others until it is asked again."""
        try:
            while True:
                event = AsyncEvent.decode(await self._admin.execute(ASYNC_EVENT_REQUEST))
                if await self._namespaces.follow(event) and not self._is_over:
                    self._on_namespaces()
        except ConnectionLostError:
            return
        except NvmeError as refused:
            log.warning("changes of the controller are not noticed any more", subnqn=self.subnqn, status=str(refused))
        except ValueError as nonsense:
            self._lose(f"the controller talks nonsense: {nonsense}")

    async def _keep_alive(self, interval_s: float) -> None:
        """Twice in the time after which the controller gives us up; as long without an answer, and we give it up."""
        try:
            while True:
                await asyncio.sleep(interval_s)
                async with asyncio.timeout(interval_s):
                    await self._admin.execute(KEEP_ALIVE)
        except TimeoutError:
            self._lose(f"no answer to a keep alive in {interval_s:g} s")
        except NvmeError as refused:
            self._lose(f"keep alive refused: {refused}")
        except ConnectionLostError:
            return

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    def _lose(self, reason: str) -> None:
        """One queue is as good as all of them."""
        if self._is_over:
            return
        log.info("controller lost", subnqn=self.subnqn, cntlid=self.cntlid, reason=reason)
        was_live = self._is_live
        self.abort()
        if was_live:
            self._on_lost()


async def _all(parts: list[Coroutine[Any, Any, None]]) -> None:
    """Every part has ended when it returns or raises, so that none of them is done behind its caller's back."""
    if len(parts) == 1:
        await parts[0]
        return
    for outcome in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
