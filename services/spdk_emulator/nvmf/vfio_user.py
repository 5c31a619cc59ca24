"""VFIOUSER listeners: a folder with a socket in it, which stands for a PCIe function.

As in SPDK the folder must exist, one controller lives in it, and after a kill the socket stays and blocks the next one
(spdk issue 2622). What a real SPDK speaks there is vfio-user, for the monitor of a VM; here it is NVMe/TCP's PDUs, for
the emulated card, which takes a socket that is unlinked for a function that is unplugged.
"""

import socket
from collections.abc import Callable
from pathlib import Path

from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.listeners import Acceptor
from spdk_emulator.nvmf.queue_end import QueueEnd

SOCKET, MEMORY = "cntrl", "bar0"
BACKLOG = 16  # the queues of one controller come at once


class VfioUserEndpoints:
    """`make` makes our end of each connection to an endpoint."""

    def __init__(self, make: Callable[[Address], QueueEnd]) -> None:
        self._make = make
        self._acceptors: dict[Address, Acceptor] = {}

    def listen(self, address: Address) -> None:
        """Raises OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = Path(address.traddr)
        try:
            listener.bind(str(folder / SOCKET))
            listener.listen(BACKLOG)
            (folder / MEMORY).touch()
        except OSError:
            listener.close()
            raise
        self._acceptors[address] = Acceptor(listener, lambda: self._make(address))

    def stop(self, address: Address) -> None:
        """Unplugged: the files go before any connection does, which is how the card tells it from our death."""
        for name in (SOCKET, MEMORY):
            Path(address.traddr, name).unlink(missing_ok=True)
        self._acceptors.pop(address).close()
