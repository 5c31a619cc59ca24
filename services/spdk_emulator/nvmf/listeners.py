"""Listening sockets, for TCP one per address, shared by all subsystems that listen there."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from spdk_emulator.nvmf.queue_end import QueueEnd

BACKLOG = 512


class Acceptor:
    """Takes the connections of one listening socket; `make` makes our end of each. One that is cut drops them."""

    def __init__(
        self, sock: socket.socket, make: Callable[[], QueueEnd], is_cut: Callable[[], bool] = lambda: False
    ) -> None:
        self._sock = sock
        self._make = make
        self._is_cut = is_cut
        self._greeting: set[asyncio.Task[object]] = set()
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock, self._accept)

    def close(self) -> None:
        """Stops listening; connections stay."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except OSError:  # it went away again, or the process is out of descriptors: the backlog keeps the rest
            return
        if self._is_cut():
            connection.close()
            return
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(
            loop.connect_accepted_socket(lambda: self._make().queue, connection)
        )
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)


@dataclass
class _Listening:
    acceptor: Acceptor
    subsystems: set[str] = field(default_factory=set)


class TcpListeners:
    """`make` makes our end of each connection; `is_cut`: whether a fault keeps an address and port from taking any."""

    def __init__(self, make: Callable[[], QueueEnd], is_cut: Callable[[str, int], bool]) -> None:
        self._make = make
        self._is_cut = is_cut
        self._listening: dict[tuple[str, int], _Listening] = {}

    def listen(self, traddr: str, port: int, nqn: str) -> None:
        """Listens there for `nqn` too; raises OSError where that cannot be."""
        where = (traddr, port)
        if where not in self._listening:
            family = socket.AF_INET6 if ":" in traddr else socket.AF_INET
            sock = socket.create_server(where, family=family, backlog=BACKLOG)
            self._listening[where] = _Listening(Acceptor(sock, self._make, lambda: self._is_cut(traddr, port)))
        self._listening[where].subsystems.add(nqn)

    def stop(self, traddr: str, port: int, nqn: str) -> None:
        """Not for `nqn` any more; the socket goes with the last one."""
        listening = self._listening[traddr, port]
        listening.subsystems.discard(nqn)
        if not listening.subsystems:
            del self._listening[traddr, port]
            listening.acceptor.close()
