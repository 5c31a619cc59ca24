"""One controller: what a host has on this target, from its Connect until the last of its commands has ended."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import ClassVar

import structlog

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import FUSED_MASK, AdminOpcode, Command, FabricsType
from dpucsi.nvme_tcp.fabrics import PropertyAccess
from dpucsi.nvme_tcp.features import Feature
from dpucsi.nvme_tcp.identify import IDENTIFY_SIZE
from dpucsi.nvme_tcp.logs import LogId, LogRequest
from dpucsi.nvme_tcp.status import (
    COMMAND_SEQUENCE_ERROR,
    INVALID_FIELD,
    INVALID_LOG_PAGE,
    INVALID_OPCODE,
    NvmeError,
)
from dpucsi.nvme_tcp.target import Reply
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.events import AsyncEvents
from spdk_emulator.nvmf.features import Features
from spdk_emulator.nvmf.host import Host
from spdk_emulator.nvmf.queue_end import QueueEnd
from spdk_emulator.nvmf.registers import Registers, Step
from spdk_emulator.nvmf.transport import TransportOptions
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)
ASSOCIATION_S = 120.0  # a controller that is not enabled is kept that long (NVMe Base 2.0, section 3.3.2.1)
ADMIN_QUEUE = 0
_NOT_ABORTED = 1  # result of Abort


class Controller(ABC):
    """`on_gone` is called once, when none of its commands is running any more."""

    TYPE: ClassVar[str]

    def __init__(
        self,
        cntlid: int,
        host: Host,
        *,
        subnqn: str,
        listen_address: Address,
        options: TransportOptions,
        features: Features,
        on_gone: "Callable[[Controller], None]",
    ) -> None:
        self.cntlid = cntlid
        self.host = host
        self.subnqn = subnqn
        self.listen_address = listen_address
        self.options = options
        self.queues: dict[int, QueueEnd] = {}
        self.registers = Registers(options.queue_size)
        self.events = AsyncEvents()
        self.features = features
        self.is_ending = False
        self._on_gone = on_gone
        self._gone = asyncio.Event()
        self._leaving: set[QueueEnd] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._watch_association()

    @abstractmethod
    def identify(self, cns: int, command: Command) -> bytes:
        """The 4096 bytes of Identify; raises NvmeError."""

    @abstractmethod
    def log_page(self, request: LogRequest) -> bytes | None:
        """A whole log page; None for one that there is not."""

    @abstractmethod
    async def io(self, command: Command, data: Buffer) -> Reply:
        """A command of an I/O queue; raises NvmeError."""

    def join(self, qid: int, end: QueueEnd) -> None:
        """A queue of this host was connected."""
        self.queues[qid] = end

    def left(self, end: QueueEnd) -> None:
        """A queue is over: with the admin queue everything is."""
        qid = end.queue.qid
        if self.queues.get(qid) is not end:
            return
        if qid == ADMIN_QUEUE:
            self.cut()
            return
        del self.queues[qid]
        self._leaving.add(end)
        self._do(self._see_off(end))

    def cut(self) -> None:
        """Ends it at once: nothing is read or begun any more. What runs goes on; `gone` waits for it."""
        if self.is_ending:
            return
        self.is_ending = True
        if self._watch is not None:
            self._watch.cancel()
        self.events.clear()
        for end in self.queues.values():
            end.queue.cut()
        self._do(self._end())

    def cancel(self) -> None:
        """Ends it and gives up what is running: for a host whose late effects do no harm."""
        self.cut()
        for end in (*self.queues.values(), *self._leaving):
            end.queue.cancel_all()

    async def gone(self) -> None:
        """Returns when it is in no list any more, and no command of it is running."""
        await self._gone.wait()

    async def settled(self, nsid: int) -> None:
        """Returns when the commands on this namespace that run now have ended."""
        for end in (*self.queues.values(), *self._leaving):
            await end.queue.settled(nsid)

    async def fabrics(self, command: Command) -> Reply:
        """A Fabrics command other than Connect; raises NvmeError."""
        if command.fctype == FabricsType.PROPERTY_GET:
            return Reply(self.registers.read(PropertyAccess.of(command)))
        if command.fctype == FabricsType.PROPERTY_SET:
            self._step(self.registers.write(PropertyAccess.of(command)))
            return Reply()
        raise NvmeError(INVALID_OPCODE, dnr=True)

    async def admin(self, command: Command, data: Buffer) -> Reply:
        """A command of the admin queue; raises NvmeError."""
        self._check_enabled(command)
        match command.opcode:
            case AdminOpcode.IDENTIFY:
                return self._identify(command)
            case AdminOpcode.GET_LOG_PAGE:
                return self._log(command)
            case AdminOpcode.GET_FEATURES:
                return self.features.get(command)
            case AdminOpcode.SET_FEATURES:
                reply = self.features.set(command, data, has_io_queues=len(self.queues) > 1)
                if command.cdw10 & 0xFF == Feature.KEEP_ALIVE_TIMER:
                    self._watch_host()
                return reply
            case AdminOpcode.ASYNC_EVENT_REQUEST:
                return await self.events.request(command.cid)
            case _:
                return self._small(command)

    def describe(self) -> dict[str, Json]:
        """As in nvmf_subsystem_get_controllers; SPDK's "I/O queues" count the admin queue too."""
        return {
            "cntlid": self.cntlid,
            "cntrltype": self.TYPE,
            "hostnqn": self.host.hostnqn,
            "hostid": str(self.host.hostid),
            "num_io_qpairs": len(self.queues),
        }

    def describe_queues(self) -> list[Json]:
        """As in nvmf_subsystem_get_qpairs."""
        shown: dict[str, Json] = {
            "state": "deactivating" if self.is_ending else "enabled",
            "thread": "nvmf_tgt_poll_group_000",
            "hostnqn": self.host.hostnqn,
            "listen_address": self.listen_address.describe(),
        }
        return [
            {"cntlid": self.cntlid, "qid": qid} | shown | {"peer_address": end.peer_address()}
            for qid, end in sorted(self.queues.items())
        ]

    def _check_enabled(self, command: Command) -> None:
        if not self.registers.cc.en:
            raise NvmeError(COMMAND_SEQUENCE_ERROR, dnr=True, reason="the controller is not enabled")
        if command.flags & FUSED_MASK:
            raise NvmeError(INVALID_FIELD, dnr=True, reason="fused")

    def _small(self, command: Command) -> Reply:
        if command.opcode == AdminOpcode.KEEP_ALIVE:
            self._watch_host()
            return Reply()
        if command.opcode == AdminOpcode.ABORT and self.TYPE == "io":
            return self._abort(command.cdw10 & 0xFFFF, command.cdw10 >> 16)
        raise NvmeError(INVALID_OPCODE, dnr=True)

    def _abort(self, qid: int, cid: int) -> Reply:
        """What runs is not aborted: its effect could come after the answer."""
        end = self.queues.get(qid)
        is_aborted = qid == ADMIN_QUEUE and self.events.abort(cid)
        is_aborted = is_aborted or (end is not None and end.queue.abort_waiting(cid))
        return Reply(0 if is_aborted else _NOT_ABORTED)

    def _identify(self, command: Command) -> Reply:
        if command.sgl.length < IDENTIFY_SIZE:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"identify into {command.sgl.length} bytes")
        return Reply(data=self.identify(command.cdw10 & 0xFF, command))

    def _log(self, command: Command) -> Reply:
        request = LogRequest.of(command)
        if request.length > command.sgl.length or request.offset % 4:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"{request} into {command.sgl.length} bytes")
        page = self.log_page(request)
        if page is None:
            raise NvmeError(INVALID_LOG_PAGE, dnr=True, reason=f"log page {request.page:#04x}")
        if request.offset >= len(page):
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"byte {request.offset} of {len(page)}")
        if not request.retain:
            self.events.was_read(LogId(request.page))
        return Reply(data=page[request.offset : request.offset + request.length].ljust(request.length, b"\0"))

    def _step(self, step: Step) -> None:
        if step is Step.ENABLE:
            self._watch_host()
        elif step is not Step.NOTHING:
            self._watch_association()
            if step is Step.DISABLE:
                self.events.clear()
            self._do(self._stop(step))

    async def _stop(self, step: Step) -> None:
        """Disabled, or shut down: the I/O queues go first."""
        ends = [end for qid, end in self.queues.items() if qid != ADMIN_QUEUE]
        for end in ends:
            end.queue.cut()
        for end in ends:
            await end.queue.finished()
        self.registers.finish(step)

    async def _see_off(self, end: QueueEnd) -> None:
        await end.queue.finished()
        self._leaving.discard(end)

    async def _end(self) -> None:
        for end in (*self.queues.values(), *self._leaving):
            await end.queue.finished()
        self._on_gone(self)
        self._gone.set()

    def _watch_association(self) -> None:
        self._watch_for(ASSOCIATION_S, "it was not enabled in time")

    def _watch_host(self) -> None:
        self._watch_for(self.features.keep_alive_s, "no Keep Alive came in time")

    def _watch_for(self, seconds: float, reason: str) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if seconds and not self.is_ending:
            self._watch = asyncio.get_running_loop().call_later(seconds, self._expire, reason)

    def _expire(self, reason: str) -> None:
        log.warning("host cut", hostnqn=self.host.hostnqn, subnqn=self.subnqn, cntlid=self.cntlid, reason=reason)
        self.registers.is_fatal = True
        self.cut()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
