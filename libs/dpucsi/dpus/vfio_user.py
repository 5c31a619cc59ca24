"""SPDK's VFIOUSER transport: each function is a folder in which a VM's monitor finds the socket of its PCIe device.

SPDK wants the folder to exist, puts `cntrl` (a socket) and `bar0` (memory) into it, and leaves both behind when it is
killed; the next listener there then fails with "address in use" (spdk issue 2622). So this driver owns the folder.
"""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from dpucsi.dpus.contract import Placement
from dpucsi.dpus.listener import ListenerDriver
from dpucsi.dpus.options import folder, function_list, known_options
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError
from dpucsi.model import HostFunction
from dpucsi.spdk.address import TransportAddress

SOCKET_PATH_MAX = 107  # bytes; sun_path of unix(7) without its final zero
SOCKET, MEMORY = "cntrl", "bar0"


class VfioUserDriver(ListenerDriver):
    """Functions under one folder: `<directory>/<function>`."""

    trtype = "VFIOUSER"

    def __init__(self, directory: Path, functions: tuple[HostFunction, ...] = ()) -> None:
        super().__init__(functions)
        self._directory = directory

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Options: `directory` (absolute path, on the machine where SPDK runs), `functions` (default: any)."""
        known_options("vfio-user", options, ("directory", "functions"))
        return cls(folder("vfio-user", options, "directory"), function_list(options))

    def listen_address(self, placement: Placement) -> TransportAddress:
        """The function's folder."""
        if placement.function is None:
            raise InvalidArgumentError(f"this DPU shows PCIe functions only, so {placement} is none of its places")
        path = self._directory / str(placement.function)
        if len(str(path / SOCKET).encode()) > SOCKET_PATH_MAX:
            raise InvalidArgumentError(f"{path / SOCKET} is too long for a socket; give the driver a shorter folder")
        return TransportAddress(trtype=self.trtype, adrfam="", traddr=str(path), trsvcid="0")

    async def make_room(self, address: TransportAddress) -> None:
        """Makes the folder; removes a dead socket from it."""
        await asyncio.to_thread(_make_room, Path(address.traddr))

    async def tidy_up(self, address: TransportAddress) -> None:
        """Removes the folder with what SPDK leaves in it; one with anything else in it stays."""
        await asyncio.to_thread(_tidy_up, Path(address.traddr))


def _make_room(path: Path) -> None:
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
    except OSError as refused:
        raise FailedPreconditionError(f"the folder {path} of a function cannot be prepared: {refused}") from refused


def _tidy_up(path: Path) -> None:
    """Best effort: an empty folder left behind is only untidy, and the next `make_room` uses it."""
    try:
        _remove_stale(path)
        path.rmdir()
    except (OSError, FailedPreconditionError):
        return


def _remove_stale(path: Path) -> None:
    if not (path / SOCKET).exists():
        (path / MEMORY).unlink(missing_ok=True)
        return
    if _is_answered(path / SOCKET):
        raise FailedPreconditionError(
            f"another process listens on {path / SOCKET}, which is this DPU's; stop it, or give one of the two "
            "another folder"
        )
    (path / SOCKET).unlink(missing_ok=True)
    (path / MEMORY).unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    """Only a refused connection proves that nobody listens; anything else counts as somebody."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
