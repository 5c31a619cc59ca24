"""One connection to the target: nobody's until Connect, then a queue of a controller."""

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command, FabricsType
from dpucsi.nvme_tcp.status import COMMAND_SEQUENCE_ERROR, INVALID_OPCODE, NvmeError
from dpucsi.nvme_tcp.target import Reply, TargetQueue
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.transport import TransportOptions
from spdk_emulator.rpc.params import Json

if TYPE_CHECKING:
    from spdk_emulator.nvmf.controller import Controller

log = structlog.get_logger(__name__)
CONNECT_S = 30.0  # a peer that has no queue by then is cut off


class Door(Protocol):
    """Decides on who wants to connect."""

    def connect(self, end: "QueueEnd", command: Command, data: Buffer) -> "tuple[Controller, Reply]":
        """The controller that the queue belongs to from now on; raises NvmeError."""


class QueueEnd:
    """`endpoint`: the VFIOUSER listener that it came through; None: a TCP one, as its own address says."""

    def __init__(self, door: Door, options: TransportOptions, endpoint: Address | None = None) -> None:
        self._door = door
        self.options = options
        self.endpoint = endpoint
        self.queue = TargetQueue(self._serve, options.limits, self._lost)
        self._controller: Controller | None = None
        self._patience = asyncio.get_running_loop().call_later(CONNECT_S, self._give_up)

    def peer_address(self) -> Json:
        """Who is at the other end."""
        if self.endpoint is not None:
            return self.endpoint.describe()
        traddr, port = self.queue.peer
        return Address.make("TCP", "IPv6" if ":" in traddr else "IPv4", traddr, str(port)).describe()

    async def _serve(self, command: Command, data: Buffer) -> Reply:
        if command.is_fabrics and command.fctype == FabricsType.CONNECT:
            return self._connect(command, data)
        if self._controller is None:
            raise NvmeError(COMMAND_SEQUENCE_ERROR, dnr=True, reason="before Connect")
        if self.queue.qid == 0:
            if command.is_fabrics:
                return await self._controller.fabrics(command)
            return await self._controller.admin(command, data)
        if command.is_fabrics:
            raise NvmeError(INVALID_OPCODE, dnr=True)
        return await self._controller.io(command, data)

    def _connect(self, command: Command, data: Buffer) -> Reply:
        if self._controller is not None:
            raise NvmeError(COMMAND_SEQUENCE_ERROR, dnr=True, reason="connected already")
        self._controller, reply = self._door.connect(self, command, data)
        self._patience.cancel()
        return reply

    def _lost(self) -> None:
        self._patience.cancel()
        if self._controller is not None:
            self._controller.left(self)

    def _give_up(self) -> None:
        log.info("cut off: no Connect came in time", peer=self.queue.peer[0])
        self.queue.cut()
