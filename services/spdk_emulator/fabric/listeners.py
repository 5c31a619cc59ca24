"""Listening TCP sockets: one per address, shared by all subsystems that listen there."""

import asyncio
import socket
from dataclasses import dataclass, field

from spdk_emulator.fabric.target_session import Admit, TargetSession

BACKLOG = 512


@dataclass
class _Listening:
    sock: socket.socket
    subsystems: set[str] = field(default_factory=set)


class FabricListeners:
    """`admit` decides on everybody who connects."""

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self._listening: dict[tuple[str, int], _Listening] = {}
        self._greeting: set[asyncio.Task[object]] = set()

    def listen(self, traddr: str, port: int, nqn: str) -> None:
        """Listens there for `nqn` too; raises OSError where that cannot be."""
        where = (traddr, port)
        if where not in self._listening:
            family = socket.AF_INET6 if ":" in traddr else socket.AF_INET
            sock = socket.create_server(where, family=family, backlog=BACKLOG)
            sock.setblocking(False)
            self._listening[where] = _Listening(sock)
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)
        self._listening[where].subsystems.add(nqn)

    def stop(self, traddr: str, port: int, nqn: str) -> None:
        """Not for `nqn` any more; the socket goes with the last one."""
        listening = self._listening[traddr, port]
        listening.subsystems.discard(nqn)
        if not listening.subsystems:
            del self._listening[traddr, port]
            asyncio.get_running_loop().remove_reader(listening.sock)
            listening.sock.close()

    def _accept(self, sock: socket.socket) -> None:
        try:
            connection, _ = sock.accept()
        except OSError:  # it went away again, or the process is out of descriptors: the backlog keeps the rest
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(
            loop.connect_accepted_socket(lambda: TargetSession(self._admit), connection)
        )
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)
