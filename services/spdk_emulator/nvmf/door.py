"""Who gets in: every Connect command is decided on here, and who is refused is written down with the reason."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import structlog

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command
from dpucsi.nvme_tcp.fabrics import (
    ANY_CNTLID,
    CATTR_NO_FLOW_CONTROL,
    CONNECT_DATA_SIZE,
    DISCOVERY_NQN,
    INVALID_CNTLID,
    INVALID_HOSTID,
    INVALID_HOSTNQN,
    INVALID_QID,
    INVALID_SQSIZE,
    INVALID_SUBNQN,
    Connect,
    ConnectData,
)
from dpucsi.nvme_tcp.status import (
    CONNECT_CONTROLLER_BUSY,
    CONNECT_INCOMPATIBLE_FORMAT,
    CONNECT_INVALID_HOST,
    CONNECT_INVALID_PARAMETERS,
    DATA_SGL_LENGTH_INVALID,
    INVALID_QUEUE_IDENTIFIER,
    NvmeError,
)
from dpucsi.nvme_tcp.target import Reply
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.controller import ADMIN_QUEUE, Controller
from spdk_emulator.nvmf.host import Host
from spdk_emulator.nvmf.io_controller import IoController
from spdk_emulator.nvmf.nqn import NQN_MAX
from spdk_emulator.nvmf.queue_end import QueueEnd
from spdk_emulator.nvmf.subsystem import Listener, Subsystem

log = structlog.get_logger(__name__)
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104
Admit: TypeAlias = "Callable[[Host, QueueEnd], Controller]"


class Discovery(Protocol):
    """Where discovery controllers are."""

    controllers: list[Controller]

    def admit(self, host: Host, end: QueueEnd) -> Controller:
        """A new one."""


class Door:
    """See spdk_emulator.nvmf.queue_end.Door. `subsystems`: by NQN."""

    def __init__(self, subsystems: dict[str, Subsystem], discovery: Discovery) -> None:
        self._subsystems = subsystems
        self._discovery = discovery

    def connect(self, end: QueueEnd, command: Command, data: Buffer) -> tuple[Controller, Reply]:
        """Admits a queue, and gives the controller that it belongs to; raises NvmeError."""
        if len(data) < CONNECT_DATA_SIZE:
            raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{len(data)} bytes of connect data")
        wanted, who = Connect.of(command), ConnectData.decode(data)
        named = {"hostnqn": who.hostnqn, "subnqn": who.subnqn, "qid": wanted.qid, "peer": end.queue.peer[0]}
        try:
            controller = self._decide(end, wanted, who)
        except NvmeError as refused:
            log.info("host refused", **named, reason=str(refused))
            raise
        has_flow_control = not wanted.cattr & CATTR_NO_FLOW_CONTROL
        end.queue.connect(qid=wanted.qid, size=wanted.sqsize + 1, has_flow_control=has_flow_control)
        controller.join(wanted.qid, end)
        log.debug("queue connected", **named, cntlid=controller.cntlid)
        return controller, Reply(controller.cntlid)

    def _decide(self, end: QueueEnd, wanted: Connect, who: ConnectData) -> Controller:
        if who.subnqn == DISCOVERY_NQN and end.endpoint is None:
            controllers = self._discovery.controllers
            admit: Admit = self._discovery.admit
        else:
            subsystem, listener = self._place(end, who)
            controllers, admit = subsystem.controllers, _admission(subsystem, listener)
        _check_format(end, wanted)
        if wanted.qid != ADMIN_QUEUE:
            return _owner(end, wanted, who, controllers)
        if who.cntlid != ANY_CNTLID:
            raise _invalid(INVALID_CNTLID, f"controllers are made, not found: {who.cntlid:#x}")
        return admit(Host(who.hostnqn, who.host_uuid, wanted.kato), end)

    def _place(self, end: QueueEnd, who: ConnectData) -> tuple[Subsystem, Listener]:
        """The subsystem and the listener that a host came to; raises NvmeError where it may not."""
        if end.endpoint is not None:
            return self._plugged(end.endpoint, who)
        subsystem = self._subsystems.get(who.subnqn)
        if subsystem is None:
            raise _invalid(INVALID_SUBNQN, "no such subsystem")
        if len(who.hostnqn.encode()) > NQN_MAX:
            raise _invalid(INVALID_HOSTNQN, "the host NQN is too long")
        if not subsystem.allows(who.hostnqn):
            raise NvmeError(CONNECT_INVALID_HOST, reason="not in the allow-list")
        listener = _listener_at(subsystem, end.queue.local)
        if listener is None:
            raise NvmeError(CONNECT_INVALID_HOST, reason=f"the subsystem does not listen on {end.queue.local}")
        if listener.secure_channel:
            raise NvmeError(CONNECT_INVALID_HOST, reason="the listener wants TLS")
        return subsystem, listener

    def _plugged(self, endpoint: Address, who: ConnectData) -> tuple[Subsystem, Listener]:
        """Behind a VFIOUSER listener there is one subsystem, whose name the host need not know."""
        for subsystem in self._subsystems.values():
            for listener in subsystem.listeners:
                if listener.address == endpoint and who.subnqn in ("", subsystem.nqn):
                    return subsystem, listener
        raise _invalid(INVALID_SUBNQN, "no such subsystem here")


def _admission(subsystem: Subsystem, listener: Listener) -> Admit:
    def admit(host: Host, end: QueueEnd) -> Controller:
        # One that is ending holds the function too: a command of its may still be running, and must not come to its
        # effect behind the same command sent again.
        is_taken = any(known.listen_address == listener.address for known in subsystem.controllers)
        if end.endpoint is not None and is_taken:
            raise NvmeError(CONNECT_CONTROLLER_BUSY, reason="the function has a host")
        cntlid = subsystem.new_cntlid()
        if cntlid is None:
            raise NvmeError(CONNECT_CONTROLLER_BUSY, reason="no controller id is left")
        controller = IoController(
            subsystem, listener, host, cntlid, options=end.options, on_gone=subsystem.controllers.remove
        )
        subsystem.controllers.append(controller)
        log.info("host connected", hostnqn=host.hostnqn, subnqn=subsystem.nqn, cntlid=cntlid, peer=end.queue.peer[0])
        return controller

    return admit


def _check_format(end: QueueEnd, wanted: Connect) -> None:
    size = end.options.queue_size if wanted.qid else end.options.admin_size
    if wanted.recfmt:
        raise NvmeError(CONNECT_INCOMPATIBLE_FORMAT, dnr=True, reason=f"record format {wanted.recfmt}")
    if not 1 <= wanted.sqsize < size:
        raise _invalid(INVALID_SQSIZE, f"a queue of {wanted.sqsize + 1} entries, {size} are allowed")


def _owner(end: QueueEnd, wanted: Connect, who: ConnectData, controllers: list[Controller]) -> Controller:
    """The controller that an I/O queue belongs to; raises NvmeError."""
    found = next((known for known in controllers if known.cntlid == who.cntlid and not known.is_ending), None)
    if found is None:
        raise _invalid(INVALID_CNTLID, f"no controller {who.cntlid:#x}")
    if found.host.hostnqn != who.hostnqn:
        raise _invalid(INVALID_HOSTNQN, "the controller is another host's")
    if found.host.hostid != who.host_uuid:
        raise _invalid(INVALID_HOSTID, "the controller is another host's")
    if found.TYPE != "io" or not found.registers.can_have_io_queues:
        raise _invalid(INVALID_QID, "the controller has no I/O queues, or is not enabled")
    if not _is_same_way(end, found):
        raise _invalid(INVALID_QID, "the controller is on another listener")
    if wanted.qid > end.options.io_queues_max or wanted.qid in found.queues:
        raise NvmeError(INVALID_QUEUE_IDENTIFIER, dnr=True, reason=f"queue {wanted.qid} is taken, or not granted")
    return found


def _is_same_way(end: QueueEnd, controller: Controller) -> bool:
    if end.endpoint is not None:
        return end.endpoint == controller.listen_address
    return _is_at(controller.listen_address, end.queue.local)


def _listener_at(subsystem: Subsystem, local: tuple[str, int]) -> Listener | None:
    return next((entry for entry in subsystem.listeners if _is_at(entry.address, local)), None)


def _is_at(address: Address, local: tuple[str, int]) -> bool:
    is_here = address.trtype == "TCP" and address.trsvcid == str(local[1])
    return is_here and address.traddr in (local[0], *_EVERYWHERE)


def _invalid(where: int, reason: str) -> NvmeError:
    return NvmeError(CONNECT_INVALID_PARAMETERS, reason=reason, result=where)
