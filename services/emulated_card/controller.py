"""What the card needs of an NVMe controller behind one of its functions."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol


class Namespace(Protocol):
    """As Identify describes it; `uuid` with dashes, `nguid` 32 hex digits, in lower case, "" where it has none."""

    @property
    def uuid(self) -> str: ...  # noqa: D102
    @property
    def nguid(self) -> str: ...  # noqa: D102
    @property
    def block_size(self) -> int: ...  # noqa: D102
    @property
    def num_blocks(self) -> int: ...  # noqa: D102
    @property
    def is_read_only(self) -> bool: ...  # noqa: D102


class Controller(Protocol):
    """dpucsi.nvme_tcp.host.HostController, as far as it is used here; offsets and lengths in bytes.

    Commands raise NvmeError, or ConnectionLostError where the controller went away before it answered.
    """

    @property
    def subnqn(self) -> str: ...  # noqa: D102
    @property
    def serial_number(self) -> str: ...  # noqa: D102
    @property
    def model_number(self) -> str: ...  # noqa: D102
    @property
    def cntlid(self) -> int: ...  # noqa: D102
    @property
    def namespaces(self) -> Mapping[int, Namespace]: ...  # noqa: D102

    async def read(self, nsid: int, offset: int, length: int) -> bytes: ...  # noqa: D102
    async def write(self, nsid: int, offset: int, data: bytes) -> None: ...  # noqa: D102
    async def flush(self, nsid: int) -> None: ...  # noqa: D102
    async def write_zeroes(self, nsid: int, offset: int, length: int) -> None: ...  # noqa: D102
    async def unmap(self, nsid: int, offset: int, length: int) -> None: ...  # noqa: D102
    async def disconnect(self) -> None: ...  # noqa: D102
    def abort(self) -> None: ...  # noqa: D102


class Connect(Protocol):
    """How the controller behind a socket is reached; raises OSError (ConnectionLostError too) or NvmeError."""

    def __call__(  # noqa: D102
        self, socket: Path, /, *, on_namespaces: Callable[[], None], on_lost: Callable[[], None]
    ) -> Awaitable[Controller]: ...
