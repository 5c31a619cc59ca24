"""The target's end of one session."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, cast

import structlog

from spdk_emulator.fabric.frames import FrameReader, encode
from spdk_emulator.fabric.messages import Accepted, Changed, Connect, NamespaceInfo, Refused, RefusedError
from spdk_emulator.rpc.params import Json

if TYPE_CHECKING:
    from spdk_emulator.nvmf.address import Address

log = structlog.get_logger(__name__)
Admit: TypeAlias = "Callable[[Connect, TargetSession], Accepted]"


class TargetSession(asyncio.Protocol):
    """One TCP connection. Before `admit` it is nobody's; after `ended` it is in no list any more."""

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._forget: Callable[[], None] | None = None
        self._connect: Connect | None = None
        self._listen_address: Address | None = None
        self.cntlid = 0
        self.local: tuple[str, int] = ("", 0)
        self.peer: tuple[str, int] = ("", 0)
        self.ended = asyncio.Event()

    @property
    def hostnqn(self) -> str:
        """Who is connected."""
        return self._connect.hostnqn if self._connect else ""

    @property
    def listen_address(self) -> "Address | None":
        """Through which listener."""
        return self._listen_address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self.local = transport.get_extra_info("sockname")[:2]
        self.peer = transport.get_extra_info("peername", ("", 0))[:2]

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            messages = self._reader.feed(data)
        except ValueError as nonsense:
            log.warning("session cut: nonsense from the host", error=str(nonsense), peer=self.peer[0])
            self.cut()
            return
        for message in messages:
            if not isinstance(message, Connect) or self._connect is not None:
                self.cut()
                return
            self._decide(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._forget is not None:
            self._forget()
        self.ended.set()

    def admit(self, cntlid: int, listen_address: "Address", forget: Callable[[], None]) -> None:
        """The host is let in; `forget` is called when the session ends."""
        self.cntlid = cntlid
        self._listen_address = listen_address
        self._forget = forget

    def announce(self, namespaces: list[NamespaceInfo]) -> None:
        """Tells the host what there is now."""
        self._send(encode(Changed(namespaces)))

    def cut(self) -> None:
        """Ends it at once."""
        if self._transport is not None:
            self._transport.abort()

    def describe(self) -> dict[str, Json]:
        """As in nvmf_subsystem_get_controllers."""
        return {
            "cntlid": self.cntlid,
            "cntrltype": "io",
            "hostnqn": self.hostnqn,
            "hostid": self._connect.hostid if self._connect else "",
            "num_io_qpairs": 1,
        }

    def describe_qpair(self) -> dict[str, Json]:
        """As in nvmf_subsystem_get_qpairs: with one reactor there is the admin queue to see."""
        family = "IPv6" if ":" in self.peer[0] else "IPv4"
        return {
            "cntlid": self.cntlid,
            "qid": 0,
            "state": "enabled",
            "thread": "nvmf_tgt_poll_group_000",
            "hostnqn": self.hostnqn,
            "listen_address": self._listen_address.describe() if self._listen_address else {},
            "peer_address": {
                "trtype": "TCP",
                "adrfam": family,
                "traddr": self.peer[0],
                "trsvcid": str(self.peer[1]),
            },
        }

    def _decide(self, connect: Connect) -> None:
        self._connect = connect
        try:
            accepted = self._admit(connect, self)
        except RefusedError as refused:
            log.info("host refused", hostnqn=connect.hostnqn, subnqn=connect.subnqn, reason=str(refused))
            self._send(encode(Refused(str(refused))))
            if self._transport is not None:
                self._transport.close()
            return
        self._send(encode(accepted))

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)
