"""The namespaces that a controller shows its host, kept current."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from dpucsi.nvme_tcp.features import AsyncEvent, EventType, Notice
from dpucsi.nvme_tcp.host_admin import HostAdmin
from dpucsi.nvme_tcp.identify import (
    CMIC_ANA,
    NSIDS_MAX,
    Cns,
    IdentifyController,
    IdentifyNamespace,
    NamespaceDescriptors,
)
from dpucsi.nvme_tcp.logs import CHANGED_SIZE, AnaLog, AnaState, LogId, ana_log_size, decode_changed
from dpucsi.nvme_tcp.status import NvmeError

log = structlog.get_logger(__name__)
OTHER_PAGE = 512  # bytes of a log page that is read only to be done with its event
NMIC_SHARED = 0x01


@dataclass(frozen=True)
class NamespaceIdentity:
    """One namespace. `uuid` with dashes, `nguid` and `eui64` hex digits, in lower case, "" where it has none."""

    uuid: str
    nguid: str
    block_size: int
    num_blocks: int
    is_read_only: bool
    anagrpid: int
    eui64: str = ""
    is_shared: bool = True

    @property
    def size(self) -> int:
        """Bytes."""
        return self.block_size * self.num_blocks


class HostNamespaces:
    """By nsid, with the states of their ANA groups.

    Methods raise NvmeError or ConnectionLostError, and ValueError where the controller talks nonsense.
    """

    def __init__(self, admin: HostAdmin, controller: IdentifyController) -> None:
        self._admin = admin
        self._controller = controller
        self._states: dict[int, AnaState] = {}
        self.by_nsid: dict[int, NamespaceIdentity] = {}

    def ana_state(self, nsid: int) -> AnaState:
        """Optimized where the controller does not report it."""
        found = self.by_nsid.get(nsid)
        return self._states.get(found.anagrpid, AnaState.OPTIMIZED) if found else AnaState.INACCESSIBLE

    async def read_all(self) -> None:
        """As they are now."""
        await self._read(await self._admin.active_nsids())
        await self.read_ana()

    async def follow(self, event: AsyncEvent) -> bool:
        """Looks at what an event tells of; whether anything has changed here."""
        before = dict(self.by_nsid), self._states
        if event.kind == EventType.NOTICE and event.info == Notice.NAMESPACES:
            await self._follow_namespaces()
        elif event.kind == EventType.NOTICE and event.info == Notice.ANA:
            await self.read_ana()
        else:
            log.info("controller reports an event", kind=event.kind, info=event.info, page=event.page)
            await self._dismiss(event)
        return before != (self.by_nsid, self._states)

    async def read_ana(self) -> None:
        """The states of the ANA groups, where the controller reports them (NVMe Base 2.0, section 8.1.3)."""
        if not self._controller.cmic & CMIC_ANA:
            return
        most = min(self._controller.nn, max(len(self.by_nsid), NSIDS_MAX))
        size = ana_log_size(min(self._controller.nanagrpid, most), most)
        self._states = AnaLog.decode(await self._admin.log_page(LogId.ANA, size)).states()

    async def _follow_namespaces(self) -> None:
        """The list of changes is read first: what changes behind it makes another event."""
        changed = decode_changed(await self._admin.log_page(LogId.CHANGED_NAMESPACES, CHANGED_SIZE))
        active = await self._admin.active_nsids()
        for nsid in self.by_nsid.keys() - active:
            del self.by_nsid[nsid]
        new = set(active) - self.by_nsid.keys()
        await self._read(active if changed is None else new.union(changed) & set(active))
        if new:
            await self.read_ana()

    async def _read(self, nsids: Iterable[int]) -> None:
        wanted = sorted(nsids)
        for nsid, found in zip(wanted, await asyncio.gather(*map(self._identify, wanted)), strict=True):
            if found is not None:
                self.by_nsid[nsid] = found
            else:
                self.by_nsid.pop(nsid, None)

    async def _identify(self, nsid: int) -> NamespaceIdentity | None:
        """None: it went away meanwhile, or it is none that we can use."""
        try:
            data = IdentifyNamespace.decode(await self._admin.identify(Cns.NAMESPACE, nsid))
            who = NamespaceDescriptors.decode(await self._admin.identify(Cns.DESCRIPTORS, nsid))
        except NvmeError as gone:
            log.info("namespace not identified", nsid=nsid, status=str(gone))
            return None
        if not data.block_size or data.lbaf0 & 0xFFFF:
            log.info("namespace passed over: inactive, or with metadata", nsid=nsid, lbaf=data.lbaf0)
            return None
        return NamespaceIdentity(
            uuid=str(who.uuid) if who.uuid and who.uuid.int else "",
            nguid=_digits(data.nguid) or who.nguid,
            block_size=data.block_size,
            num_blocks=data.nsze,
            is_read_only=data.is_write_protected,
            anagrpid=data.anagrpid,
            eui64=_digits(data.eui64) or who.eui64,
            is_shared=bool(data.nmic & NMIC_SHARED),
        )

    async def _dismiss(self, event: AsyncEvent) -> None:
        try:
            await self._admin.log_page(event.page, OTHER_PAGE)
        except NvmeError as refused:
            log.info("log page not read", page=event.page, status=str(refused))


def _digits(number: bytes) -> str:
    return number.hex() if any(number) else ""
