"""A controller over real sockets that does what a test tells it: answers late, in another order, wrongly, or never."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from dpucsi.nvme_tcp import features, status
from dpucsi.nvme_tcp.command import AdminOpcode, Command, Completion, FabricsType, IoOpcode
from dpucsi.nvme_tcp.fabrics import (
    SHST_COMPLETE,
    SHST_NONE,
    VERSION_2_0,
    Capabilities,
    Configuration,
    Connect,
    ConnectData,
    ControllerStatus,
    Property,
    PropertyAccess,
)
from dpucsi.nvme_tcp.identify import (
    CMIC_ANA,
    CMIC_CONTROLLERS,
    OAES_ANA,
    OAES_NAMESPACES,
    ONCS_DSM,
    ONCS_WRITE_ZEROES,
    Cns,
    IdentifyController,
    IdentifyNamespace,
    NamespaceDescriptors,
    NvmController,
    encode_nsids,
    lbaf,
)
from dpucsi.nvme_tcp.logs import AnaGroup, AnaLog, AnaState, LogId, LogRequest, encode_changed
from dpucsi.nvme_tcp.pdu import (
    PLAIN,
    R2T,
    C2HData,
    CapsuleCmd,
    CapsuleResp,
    Framing,
    H2CData,
    H2CTermReq,
    ICReq,
    ICResp,
    encode,
)
from dpucsi.nvme_tcp.status import NvmeError
from dpucsi.nvme_tcp.stream import PduReader, Role

BLOCK, IN_CAPSULE = 512, 4096
_RANGE = struct.Struct("<IIQ")


@dataclass
class Memory:
    """One namespace."""

    num_blocks: int = 4096
    uuid: UUID = field(default_factory=uuid4)
    data: bytearray = field(default_factory=bytearray)
    state: AnaState = AnaState.OPTIMIZED
    is_read_only: bool = False

    def __post_init__(self):
        self.data = bytearray(self.num_blocks * BLOCK)

    def grow(self, num_blocks):
        self.data += bytes((num_blocks - self.num_blocks) * BLOCK)
        self.num_blocks = num_blocks


class Scripted:
    """The controller. What tests set is in the attributes, what happened too."""

    def __init__(self) -> None:
        self.namespaces: dict[int, Memory] = {1: Memory()}
        self.identity = IdentifyController(
            vid=0x8086,
            sn="SERIAL",
            mn="MODEL",
            cmic=CMIC_CONTROLLERS | CMIC_ANA,
            mdts=5,  # 128 KiB
            oaes=OAES_NAMESPACES | OAES_ANA,
            anatt=1,
            nanagrpid=32,
            nn=32,
            oncs=ONCS_DSM | ONCS_WRITE_ZEROES,
            vwc=1,
            ioccsz=(64 + IN_CAPSULE) // 16,
            maxcmd=128,
        )
        self.nvm = NvmController(wzsl=3, dmrl=1, dmrsl=100)
        self.agreement = ICResp()
        self.held: set[int] = set()  # opcodes of I/O commands that are not answered
        self.failing: dict[int, NvmeError] = {}  # by opcode, of I/O commands
        self.refused: NvmeError | None = None  # every Connect
        self.is_without_io = False  # refuses I/O queues
        self.is_deaf = False  # to keep alives
        self.r2t_size = 1 << 20
        self.c2h_size = 1 << 20
        self.has_success_flag = False
        self.cntlids = iter(range(1, 1 << 16))
        self.queues: list[ScriptedQueue] = []
        self.opened = 0
        self.commands: list[Command] = []  # of I/O queues
        self.keep_alives = 0
        self.shutdowns = 0
        self.terminated: list[H2CTermReq] = []
        self._server: asyncio.Server | None = None
        self._changed: set[int] = set()

    def identify(self, **fields: Any) -> None:
        """Changes what it says of itself."""
        self.identity = replace(self.identity, **fields)

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ScriptedQueue(self), host, port, reuse_address=True)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def stop(self) -> None:
        """Stops listening and cuts everybody, as a kill does."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        for queue in list(self.queues):
            queue.transport.abort()

    async def dial(self, factory: Callable[[], asyncio.Protocol]) -> Any:
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", self._port)

    @property
    def io_queue(self) -> "ScriptedQueue":
        return next(queue for queue in self.queues if queue.qid)

    def tell_changed(self, *nsids: int) -> None:
        self._changed |= set(nsids)
        self._tell(features.Notice.NAMESPACES)

    def tell_ana(self) -> None:
        self._tell(features.Notice.ANA)

    def changes(self) -> bytes:
        changed, self._changed = self._changed, set()
        return encode_changed(changed)

    def ana(self) -> bytes:
        groups = [AnaGroup(nsid, memory.state, (nsid,)) for nsid, memory in self.namespaces.items()]
        return AnaLog(1, tuple(groups)).encode()

    def _tell(self, notice: features.Notice) -> None:
        for queue in self.queues:
            if queue.qid == 0:
                queue.notices.append(features.AsyncEvent.notice(notice).encode())
                queue.tell()


class ScriptedQueue(asyncio.Protocol):
    """One connection to it."""

    def __init__(self, owner: Scripted) -> None:
        self.owner = owner
        self.reader = PduReader(Role.CONTROLLER, data_max=1 << 20)
        self.framing = PLAIN
        self.qid = 0
        self.waiting: list[Command] = []  # held, unanswered
        self.notices: list[int] = []
        self.terminated: list[H2CTermReq] = []
        self._aers: list[int] = []
        self._shst = SHST_NONE
        self._transfers: dict[int, tuple[Command, bytearray]] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.owner.queues.append(self)
        self.owner.opened += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.queues.remove(self)

    def data_received(self, data: bytes) -> None:
        for pdu in self.reader.feed(data):
            match pdu:
                case ICReq():
                    self._agree(pdu)
                case CapsuleCmd():
                    self._begin(pdu.command, pdu.data)
                case H2CData():
                    self._collect(pdu)
                case H2CTermReq():
                    self.terminated.append(pdu)
                    self.owner.terminated.append(pdu)

    def send(self, *pdus: Any) -> None:
        self.transport.write(b"".join(bytes(part) for pdu in pdus for part in encode(pdu, self.framing)))

    def send_damaged(self, pdu: Any, *, at: int) -> None:
        """With one byte changed."""
        whole = bytearray(b"".join(bytes(part) for part in encode(pdu, self.framing)))
        whole[at] ^= 0xFF
        self.transport.write(whole)

    def tell(self) -> None:
        while self._aers and self.notices:
            self.send(CapsuleResp(Completion(self._aers.pop(0), result=self.notices.pop(0))))

    def answer(self, command: Command, data: bytes = b"") -> None:
        """A held command, with other data than the namespace's where it is given."""
        if command in self.waiting:
            self.waiting.remove(command)
        if data:
            self._give(command, data)
        else:
            self._serve(command)

    def ask(self, command: Command, offset: int, length: int) -> None:
        """The next piece of a write's data."""
        self.send(R2T(command.cid, command.cid, offset, length))

    def _agree(self, request: ICReq) -> None:
        digests = {
            name: getattr(request, name) and not self.owner.agreement.pfv for name in ("header_digest", "data_digest")
        }
        agreement = self.owner.agreement
        if agreement == ICResp(maxh2cdata=agreement.maxh2cdata, cpda=agreement.cpda):
            agreement = replace(agreement, **digests)
        self.send(agreement)
        self.reader.framing = Framing(agreement.header_digest, agreement.data_digest, (agreement.cpda + 1) * 4)
        self.framing = Framing(agreement.header_digest, agreement.data_digest, (request.hpda + 1) * 4)

    def _begin(self, command: Command, data: Any) -> None:
        if command.is_fabrics or self.qid == 0:
            try:
                self._admin(command, data)
            except NvmeError as error:
                self.fail(command, error)
            return
        self.owner.commands.append(command)
        if command.sends_data and command.sgl.length > len(data):
            self._transfers[command.cid] = command, bytearray(command.sgl.length)
            if command.opcode not in self.owner.held:
                self.ask(command, 0, min(self.owner.r2t_size, command.sgl.length))
                return
        elif command.opcode not in self.owner.held:
            self._serve(command, bytes(data))
            return
        self.waiting.append(command)

    def _collect(self, pdu: H2CData) -> None:
        command, data = self._transfers[pdu.cccid]
        end = pdu.datao + len(pdu.data)
        data[pdu.datao : end] = pdu.data
        if end == len(data):
            if command in self.waiting:
                self.waiting.remove(command)
            del self._transfers[pdu.cccid]
            self._serve(command, bytes(data))
        elif pdu.is_last and command.opcode not in self.owner.held:
            self.ask(command, end, min(self.owner.r2t_size, len(data) - end))

    def _serve(self, command: Command, data: bytes = b"") -> None:
        error = self.owner.failing.get(command.opcode)
        memory = self.owner.namespaces.get(command.nsid)
        if error is not None or memory is None:
            self.fail(command, error or NvmeError(status.INVALID_NAMESPACE))
            return
        start, end = command.slba * BLOCK, (command.slba + command.num_blocks) * BLOCK
        if command.opcode == IoOpcode.READ:
            self._give(command, bytes(memory.data[start:end]))
            return
        if command.opcode == IoOpcode.WRITE:
            memory.data[start:end] = data
        elif command.opcode == IoOpcode.WRITE_ZEROES:
            memory.data[start:end] = bytes(end - start)
        elif command.opcode == IoOpcode.DATASET_MANAGEMENT:
            _, count, first = _RANGE.unpack(data)
            last = min(first + count, len(memory.data) // BLOCK)
            memory.data[first * BLOCK : last * BLOCK] = b"\xdd" * ((last - first) * BLOCK)
        self.send(CapsuleResp(Completion(command.cid)))

    def _give(self, command: Command, data: bytes) -> None:
        size = self.owner.c2h_size
        for start in range(0, len(data), size):
            is_last = start + size >= len(data)
            flags = {"is_last": is_last, "is_success": is_last and self.owner.has_success_flag}
            self.send(C2HData(command.cid, start, data[start : start + size], **flags))
        if not self.owner.has_success_flag or not data:
            self.send(CapsuleResp(Completion(command.cid)))

    def fail(self, command: Command, error: NvmeError) -> None:
        if command in self.waiting:
            self.waiting.remove(command)
            self._transfers.pop(command.cid, None)
        self.send(CapsuleResp(Completion(command.cid, error.status, dnr=error.dnr)))

    def _end(self, command: Command, result: int = 0) -> None:
        self.send(CapsuleResp(Completion(command.cid, result=result)))

    def _admin(self, command: Command, data: Any) -> None:
        if command.is_fabrics:
            self._fabrics(command, data)
            return
        match command.opcode:
            case AdminOpcode.IDENTIFY:
                self._give(command, self._identify(command))
            case AdminOpcode.GET_LOG_PAGE:
                request = LogRequest.of(command)
                page = {LogId.ANA: self.owner.ana, LogId.CHANGED_NAMESPACES: self.owner.changes}[LogId(request.page)]()
                self._give(command, page[request.offset :][: request.length].ljust(request.length, b"\0"))
            case AdminOpcode.ASYNC_EVENT_REQUEST:
                self._aers.append(command.cid)
                self.tell()
            case AdminOpcode.KEEP_ALIVE:
                self.owner.keep_alives += 1
                if not self.owner.is_deaf:
                    self._end(command)
            case _:  # a feature: its value is what was asked for
                self._end(command, command.cdw11)

    def _fabrics(self, command: Command, data: Any) -> None:
        if command.fctype == FabricsType.CONNECT:
            if self.owner.refused is not None:
                raise self.owner.refused
            asked = ConnectData.decode(data).cntlid
            self.qid = Connect.of(command).qid
            if self.qid and self.owner.is_without_io:
                raise NvmeError(status.CONNECT_CONTROLLER_BUSY)
            self._end(command, asked if self.qid else next(self.owner.cntlids))
            return
        access = PropertyAccess.of(command)
        if command.fctype == FabricsType.PROPERTY_SET:
            if Configuration.decode(access.value).shn:
                self._shst = SHST_COMPLETE
                self.owner.shutdowns += 1
            self._end(command)
            return
        values = {
            Property.CAP: Capabilities(mqes=127, to=1).encode(),
            Property.VS: VERSION_2_0,
            Property.CSTS: ControllerStatus(rdy=True, shst=self._shst).encode(),
        }
        self._end(command, values[Property(access.offset)])

    def _identify(self, command: Command) -> bytes:
        cns, memory = Cns(command.cdw10 & 0xFF), self.owner.namespaces.get(command.nsid)
        if cns == Cns.CONTROLLER:
            return self.owner.identity.encode()
        if cns == Cns.IO_CONTROLLER:
            return self.owner.nvm.encode()
        if cns == Cns.ACTIVE_NAMESPACES:
            return encode_nsids(nsid for nsid in self.owner.namespaces if nsid > command.nsid)
        if memory is None:
            raise NvmeError(status.INVALID_NAMESPACE, dnr=True)
        if cns == Cns.DESCRIPTORS:
            return NamespaceDescriptors(uuid=memory.uuid, nguid=memory.uuid.hex).encode()
        return IdentifyNamespace(
            nsze=memory.num_blocks,
            nmic=1,
            anagrpid=command.nsid,
            nsattr=memory.is_read_only,
            nguid=memory.uuid.bytes,
            lbaf0=lbaf(BLOCK),
        ).encode()
