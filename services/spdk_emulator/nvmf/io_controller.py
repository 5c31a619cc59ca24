"""A controller of an NVM subsystem."""

from collections.abc import Callable
from typing import ClassVar

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import ALL_NAMESPACES, AdminOpcode, Command
from dpucsi.nvme_tcp.features import EVENT_ANA, EVENT_NAMESPACES, Feature, Notice
from dpucsi.nvme_tcp.identify import (
    IDENTIFY_SIZE,
    NVM_COMMAND_SET,
    Cns,
    encode_command_sets,
    encode_nsids,
)
from dpucsi.nvme_tcp.logs import (
    ANA_GROUPS_ONLY,
    SUPPORTED,
    AnaGroup,
    AnaLog,
    AnaState,
    ErrorEntry,
    FirmwareLog,
    LogId,
    LogRequest,
    SmartLog,
    encode_changed,
    encode_commands,
    encode_supported_pages,
)
from dpucsi.nvme_tcp.status import (
    ANA_INACCESSIBLE,
    INVALID_FIELD,
    INVALID_NAMESPACE,
    NvmeError,
)
from dpucsi.nvme_tcp.target import Reply
from spdk_emulator.nvmf import identify, io_commands
from spdk_emulator.nvmf.controller import Controller
from spdk_emulator.nvmf.features import Features
from spdk_emulator.nvmf.host import Host
from spdk_emulator.nvmf.subsystem import ANA_STATES, Listener, Namespace, Subsystem
from spdk_emulator.nvmf.transport import TransportOptions

_ERROR_ENTRIES = 128
_ROOM_KELVIN = 300
_NSID_MAX = 0xFFFFFFFD  # the highest nsid that a list of namespaces may begin behind
_ADMIN = (
    *(AdminOpcode.GET_LOG_PAGE, AdminOpcode.IDENTIFY, AdminOpcode.ABORT, AdminOpcode.SET_FEATURES),
    *(AdminOpcode.GET_FEATURES, AdminOpcode.ASYNC_EVENT_REQUEST, AdminOpcode.KEEP_ALIVE),
)


class IoController(Controller):
    """`listener`: the one through which the host came; its ANA states are what this host sees."""

    TYPE: ClassVar[str] = "io"

    def __init__(
        self,
        subsystem: Subsystem,
        listener: Listener,
        host: Host,
        cntlid: int,
        *,
        options: TransportOptions,
        on_gone: Callable[[Controller], None],
    ) -> None:
        events = EVENT_NAMESPACES | EVENT_ANA * subsystem.ana_reporting
        super().__init__(
            cntlid,
            host,
            subnqn=subsystem.nqn,
            listen_address=listener.address,
            options=options,
            features=Features(host, options, known=frozenset(Feature), events=events),
            on_gone=on_gone,
        )
        self._subsystem = subsystem
        self._listener = listener
        self._changed: set[int] = set()
        self._ana_changes = 0

    def namespace_changed(self, nsid: int) -> None:
        """It came, went, or has another size."""
        self._changed.add(nsid)
        self.events.notice(Notice.NAMESPACES, self.features.events)

    def ana_changed(self) -> None:
        """A state, or the group of a namespace."""
        self._ana_changes += 1
        self.events.notice(Notice.ANA, self.features.events)

    async def io(self, command: Command, data: Buffer) -> Reply:
        """See Controller."""
        self._check_enabled(command)
        entry = self._subsystem.namespaces.get(command.nsid)
        if entry is None or not entry.is_auto_visible:
            raise NvmeError(INVALID_NAMESPACE, dnr=True, reason=f"nsid {command.nsid}")
        if not self._is_reached(entry):
            raise NvmeError(ANA_INACCESSIBLE)
        return await io_commands.run(entry.bdev, command, data)

    def identify(self, cns: int, command: Command) -> bytes:
        """See Controller."""
        match cns:
            case Cns.CONTROLLER:
                return identify.controller(self._subsystem, self.cntlid, self.options).encode()
            case Cns.ACTIVE_NAMESPACES:
                return self._active(command)
            case Cns.COMMAND_SETS:
                return encode_command_sets()
            case Cns.NAMESPACE | Cns.DESCRIPTORS | Cns.INDEPENDENT_NAMESPACE:
                return self._identify_namespace(cns, command.nsid)
            case Cns.IO_NAMESPACE | Cns.IO_CONTROLLER | Cns.IO_ACTIVE_NAMESPACES:
                return self._identify_io(cns, command)
            case _:
                raise NvmeError(INVALID_FIELD, dnr=True, reason=f"identify {cns:#04x}")

    def log_page(self, request: LogRequest) -> bytes | None:
        """See Controller."""
        if request.nsid not in (0, ALL_NAMESPACES):
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"log page {request.page:#04x} of nsid {request.nsid}")
        pages: dict[LogId, Callable[[], bytes]] = {
            LogId.SUPPORTED_PAGES: self._supported,
            LogId.ERROR: lambda: bytes(ErrorEntry.SIZE * _ERROR_ENTRIES),
            LogId.SMART: SmartLog(temperature=_ROOM_KELVIN).encode,
            LogId.FIRMWARE: FirmwareLog(slot1=identify.FIRMWARE.encode().ljust(8)).encode,
            LogId.COMMANDS: lambda: encode_commands(dict.fromkeys(_ADMIN, SUPPORTED), io_commands.EFFECTS),
            LogId.CHANGED_NAMESPACES: lambda: self._changed_page(request),
        }
        if self._subsystem.ana_reporting:
            pages[LogId.ANA] = lambda: self._ana_page(request)
        page = next((make for known, make in pages.items() if known == request.page), None)
        return page() if page is not None else None

    def _supported(self) -> bytes:
        ana = [LogId.ANA] if self._subsystem.ana_reporting else []
        return encode_supported_pages([*(LogId(number) for number in range(6)), *ana])

    def _changed_page(self, request: LogRequest) -> bytes:
        page = encode_changed(self._changed)
        if not request.retain:
            self._changed.clear()
        return page

    def _ana_page(self, request: LogRequest) -> bytes:
        members: dict[int, list[int]] = {}
        for nsid, entry in self._subsystem.visible().items():
            members.setdefault(entry.anagrpid, []).append(nsid)
        groups = tuple(
            AnaGroup(group, self._ana_state(group), tuple(nsids), self._ana_changes)
            for group, nsids in sorted(members.items())
        )
        return AnaLog(self._ana_changes, groups).encode(groups_only=bool(request.lsp & ANA_GROUPS_ONLY))

    def _ana_state(self, group: int) -> AnaState:
        return ANA_STATES[self._listener.state_of(group)] if self._subsystem.ana_reporting else AnaState.OPTIMIZED

    def _is_reached(self, entry: Namespace) -> bool:
        return self._ana_state(entry.anagrpid) is not AnaState.INACCESSIBLE

    def _active(self, command: Command) -> bytes:
        if command.nsid > _NSID_MAX:
            raise NvmeError(INVALID_NAMESPACE, dnr=True, reason=f"namespaces behind {command.nsid:#x}")
        return encode_nsids(nsid for nsid in self._subsystem.visible() if nsid > command.nsid)

    def _identify_namespace(self, cns: int, nsid: int) -> bytes:
        """Of one that is not there: zeroes, where the specification says so."""
        if not 1 <= nsid <= self._subsystem.max_namespaces:
            raise NvmeError(INVALID_NAMESPACE, dnr=True, reason=f"nsid {nsid:#x}")
        entry = self._subsystem.visible().get(nsid)
        if entry is None:
            if cns == Cns.NAMESPACE:
                return bytes(IDENTIFY_SIZE)
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"no namespace {nsid}")
        anagrpid = entry.anagrpid if self._subsystem.ana_reporting else 0
        if cns == Cns.DESCRIPTORS:
            return identify.descriptors(entry).encode()
        if cns == Cns.INDEPENDENT_NAMESPACE:
            return identify.independent(entry, anagrpid).encode()
        is_reached = self._is_reached(entry)
        return identify.namespace(entry, self.options, anagrpid=anagrpid, is_reached=is_reached).encode()

    def _identify_io(self, cns: int, command: Command) -> bytes:
        if command.cdw11 >> 24 != NVM_COMMAND_SET:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"command set {command.cdw11 >> 24:#x}")
        if cns == Cns.IO_ACTIVE_NAMESPACES:
            return self._active(command)
        if cns == Cns.IO_CONTROLLER:
            return identify.nvm_controller(self._subsystem).encode()
        self._identify_namespace(Cns.DESCRIPTORS, command.nsid)
        return bytes(IDENTIFY_SIZE)  # no metadata, no protection information: nothing to say
