"""The discovery subsystem: tells a host which subsystems it may use here (NVMe Base 2.0, section 3.1.2.3)."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command
from dpucsi.nvme_tcp.fabrics import (
    ADRFAM_IPV4,
    ADRFAM_IPV6,
    DISCOVERY_NQN,
    DiscoveryEntry,
    DiscoveryLog,
)
from dpucsi.nvme_tcp.features import EVENT_DISCOVERY, Notice
from dpucsi.nvme_tcp.identify import OAES_DISCOVERY, Cns
from dpucsi.nvme_tcp.logs import LogId, LogRequest, encode_supported_pages
from dpucsi.nvme_tcp.status import INVALID_FIELD, INVALID_OPCODE, NvmeError
from dpucsi.nvme_tcp.target import Reply
from spdk_emulator.nvmf import identify
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.controller import Controller
from spdk_emulator.nvmf.features import OF_DISCOVERY, Features
from spdk_emulator.nvmf.host import Host
from spdk_emulator.nvmf.subsystem import Listener, Subsystem
from spdk_emulator.nvmf.transport import TransportOptions

INACTIVE_MS = 120_000  # a host without keep alive is done by then
_SECURE_REQUIRED, _SECURE_NOT_REQUIRED = 1, 2


class DiscoveryController(Controller):
    """`look` gives the log page that this host may see."""

    TYPE: ClassVar[str] = "discovery"

    def __init__(
        self,
        host: Host,
        cntlid: int,
        *,
        listen_address: Address,
        options: TransportOptions,
        look: Callable[[str], DiscoveryLog],
        on_gone: Callable[[Controller], None],
    ) -> None:
        events = EVENT_DISCOVERY if host.kato else 0  # who does not stay is not told (section 3.1.2.3.3)
        timed = Host(host.hostnqn, host.hostid, host.kato or INACTIVE_MS)
        super().__init__(
            cntlid,
            host,
            subnqn=DISCOVERY_NQN,
            listen_address=listen_address,
            options=options,
            features=Features(timed, options, known=OF_DISCOVERY, events=events),
            on_gone=on_gone,
        )
        self._look = look

    def changed(self) -> None:
        """The log page is another one."""
        self.events.notice(Notice.DISCOVERY, self.features.events)

    def identify(self, cns: int, command: Command) -> bytes:
        """See Controller."""
        if cns != Cns.CONTROLLER:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"identify {cns:#04x}")
        common = identify.common(DISCOVERY_NQN, self.cntlid, self.options)
        return replace(common, cntrltype=identify.DISCOVERY_CONTROLLER, oaes=OAES_DISCOVERY).encode()

    def log_page(self, request: LogRequest) -> bytes | None:
        """See Controller."""
        if request.page == LogId.SUPPORTED_PAGES:
            return encode_supported_pages([LogId.SUPPORTED_PAGES, LogId.DISCOVERY])
        if request.page == LogId.DISCOVERY:
            return self._look(self.host.hostnqn).encode()
        return None

    async def io(self, command: Command, data: Buffer) -> Reply:
        """There are no I/O queues."""
        raise NvmeError(INVALID_OPCODE, dnr=True)


def entry(subsystem: Subsystem, listener: Listener, options: TransportOptions) -> DiscoveryEntry:
    """One line of the log page."""
    address = listener.address
    return DiscoveryEntry(
        adrfam=ADRFAM_IPV6 if address.adrfam == "IPv6" else ADRFAM_IPV4,
        treq=_SECURE_REQUIRED if listener.secure_channel else _SECURE_NOT_REQUIRED,
        asqsz=options.admin_size,
        trsvcid=address.trsvcid,
        subnqn=subsystem.nqn,
        traddr=address.traddr,
    )
