"""VFIOUSER listeners: a folder with a socket in it, for a VM's monitor, or a function of the emulated card.

As in SPDK the folder must exist, one controller lives in it, and after a kill the socket stays and blocks the next one
(spdk issue 2622).
"""

import socket
from pathlib import Path

from dpucsi.errors import InvalidArgumentError
from dpucsi.model import HostFunction
from spdk_emulator.card.view import Card, ControllerView, NamespaceView
from spdk_emulator.nvmf.subsystem import Subsystem

SOCKET, MEMORY = "cntrl", "bar0"


class VfioUserEndpoints:
    """`card` shows the folders below `functions` to a Host; None: no card is there."""

    def __init__(self, card: Card | None, functions: Path | None) -> None:
        self._card = card
        self._functions = functions
        self._sockets: dict[str, socket.socket] = {}

    def listen(self, traddr: str) -> None:
        """Raises OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(f"{traddr}/{SOCKET}")
            listener.listen(1)
            Path(traddr, MEMORY).touch()
        except OSError:
            listener.close()
            raise
        self._sockets[traddr] = listener

    def stop(self, traddr: str) -> None:
        """The controller is gone for its Host."""
        listener = self._sockets.pop(traddr)
        listener.close()
        Path(traddr, SOCKET).unlink(missing_ok=True)
        Path(traddr, MEMORY).unlink(missing_ok=True)
        function = self._function(traddr)
        if self._card is not None and function is not None:
            self._card.show(function, None)

    def show(self, traddr: str, subsystem: Subsystem) -> None:
        """Tells the card what its function looks like now."""
        function = self._function(traddr)
        if self._card is None or function is None:
            return
        namespaces = tuple(
            NamespaceView(
                info.nsid, info.uuid, info.nguid, info.path, info.block_size, info.num_blocks, info.is_read_only
            )
            for info in subsystem.visible()
        )
        self._card.show(
            function,
            ControllerView(
                subsystem.nqn, subsystem.serial_number, subsystem.model_number, subsystem.min_cntlid, namespaces
            ),
        )

    def _function(self, traddr: str) -> HostFunction | None:
        path = Path(traddr)
        if self._functions is None or path.parent != self._functions:
            return None
        try:
            return HostFunction.parse(path.name)
        except InvalidArgumentError:
            return None
