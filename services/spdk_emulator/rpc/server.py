"""The JSON-RPC socket, looked at as SPDK does: every few milliseconds, never in between.

A look takes one new connection, reads what lies in the sockets, starts all of it in order, and sends what is ready.
Nothing wakes up while nothing is sent: the next look is put on the grid of looks when bytes arrive.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeAlias

import structlog

from spdk_emulator.rpc.connection import Connection, Dispatch

CONNECTIONS_MAX = 64  # SPDK_JSONRPC_MAX_CONNS; the next one waits in the kernel's backlog and is never answered

log = structlog.get_logger(__name__)
OnLook: TypeAlias = Callable[[], None]


class RpcServer:
    """Serves one listening socket; `looks` counts the looks that found something."""

    def __init__(self, listener: socket.socket, dispatch: Dispatch, look_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._dispatch = dispatch
        self._look_s = look_s
        self._started = self._loop.time()
        self._next_look: asyncio.TimerHandle | None = None
        self._knocked = False
        self._connections: list[Connection] = []
        self.looks = 0
        listener.setblocking(False)
        self._watch_listener()

    def close(self) -> None:
        """Stops listening and drops every connection."""
        if self._next_look is not None:
            self._next_look.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._connections):
            connection.close()

    def wake(self) -> None:
        """Asks for a look at the next point of the grid."""
        if self._next_look is None:
            passed = int((self._loop.time() - self._started) / self._look_s)
            self._next_look = self._loop.call_at(self._started + (passed + 1) * self._look_s, self._look)

    def _look(self) -> None:
        self._next_look = None
        self.looks += 1
        readable = [connection for connection in self._connections if connection.is_readable]
        if self._knocked:
            self._accept()
        for connection in readable:
            connection.read()

    def _watch_listener(self) -> None:
        self._knocked = False
        if len(self._connections) < CONNECTIONS_MAX:
            self._loop.add_reader(self._listener, self._knock)

    def _knock(self) -> None:
        self._loop.remove_reader(self._listener)
        self._knocked = True
        self.wake()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as gone:
            log.info("a connection was gone before it was taken", error=str(gone))
        else:
            sock.setblocking(False)
            self._connections.append(Connection(sock, self._dispatch, self.wake, self._forget))
        self._watch_listener()

    def _forget(self, connection: Connection) -> None:
        was_full = len(self._connections) >= CONNECTIONS_MAX
        self._connections.remove(connection)
        if was_full and self._listener.fileno() >= 0:
            self._watch_listener()
