"""One NVMe namespace as the Host's disk: a file of ours with the namespace's bytes, and a loop device over it."""

import errno
import os
from pathlib import Path

from dpucsi.errors import DpucsiError
from emulated_card import loops
from emulated_card.controller import Controller
from emulated_card.fuse.server import FuseFile
from emulated_card.gate import Gate
from emulated_card.shown import ShownNamespace
from emulated_card.state import Gone, Live, Waiting

ZEROES = bytes(1 << 20)


class Disk:
    """From `make` to `withdraw`. `namespace`: as the Host sees it now."""

    def __init__(self, namespace: ShownNamespace, controller: Controller, file: Path) -> None:
        self.namespace = namespace
        self._gate = Gate(Live(controller))
        self._file = FuseFile(file, self)
        self._loop: int | None = None

    def is_served_by(self, controller: Controller) -> bool:
        """Whether its commands go to `controller` now."""
        return isinstance(self._gate.state, Live) and self._gate.state.controller is controller

    @property
    def size(self) -> int:
        """Bytes."""
        return self.namespace.num_blocks * self.namespace.block_size

    @property
    def block_size(self) -> int:
        """Bytes."""
        return self.namespace.block_size

    @property
    def is_read_only(self) -> bool:
        """Whether the namespace takes no writes."""
        return self.namespace.is_read_only

    async def make(self) -> int:
        """The device number (as in st_rdev) of its loop device; raises OSError or DpucsiError."""
        self._file.open()
        try:
            self._loop = await loops.attach(self._file.point, self.block_size, is_read_only=self.is_read_only)
        except (OSError, DpucsiError):
            await self.withdraw()
            raise
        return loops.dev_of(self._loop)

    def serve_from(self, controller: Controller) -> None:
        """From now on `controller` serves it; what waited is sent again."""
        self._gate.set(Live(controller))

    def wait(self) -> None:
        """Nobody serves it for now."""
        self._gate.set(Waiting())

    async def resize(self, namespace: ShownNamespace) -> None:
        """The same one with another size; raises DpucsiError, and has the old size then."""
        before, self.namespace = self.namespace, namespace
        if self._loop is None:
            return
        try:
            with self._file.writes_held():
                await loops.refresh_size(self._loop, self._file.point)
        except DpucsiError:
            self.namespace = before
            raise

    def fail(self) -> None:
        """What is running or waiting, and all that comes, ends with EIO."""
        self._gate.set(Gone())
        self._file.fail_running()

    async def withdraw(self) -> None:
        """Takes it away from whoever uses it; raises DpucsiError, and can be tried again then."""
        self.fail()
        await loops.detach(self._file.point)
        await self._file.close()

    async def read(self, offset: int, length: int) -> bytes:
        """See fuse.server.Bytes."""
        self._check(offset, length)
        return await self._gate.run(lambda controller: controller.read(self.namespace.nsid, offset, length))

    async def write(self, offset: int, data: bytes) -> None:
        """See fuse.server.Bytes."""
        self._check_write(offset, len(data))
        await self._gate.run(lambda controller: controller.write(self.namespace.nsid, offset, data))

    async def flush(self) -> None:
        """See fuse.server.Bytes. The loop driver asks for one before it is there: nobody has written, none may wait."""
        if self._loop is None:
            return
        await self._gate.run(lambda controller: controller.flush(self.namespace.nsid))

    async def discard(self, offset: int, length: int) -> None:
        """See fuse.server.Bytes.

        The loop driver asks for a hole to discard, and also to get zeroes (REQ_OP_WRITE_ZEROES without REQ_NOUNMAP);
        it does not say which. After an unmap bytes may still be what they were, as a clone's are that it has from
        its parent: what is not zero then is made so.
        """
        self._check_write(offset, length)
        await self._gate.run(lambda controller: controller.unmap(self.namespace.nsid, offset, length))
        for start in range(offset, offset + length, len(ZEROES)):
            size = min(len(ZEROES), offset + length - start)
            if await self.read(start, size) != ZEROES[:size]:
                await self.write_zeroes(start, size)

    async def write_zeroes(self, offset: int, length: int) -> None:
        """See fuse.server.Bytes."""
        self._check_write(offset, length)
        await self._gate.run(lambda controller: controller.write_zeroes(self.namespace.nsid, offset, length))

    def _check(self, offset: int, length: int) -> None:
        if offset % self.block_size or length % self.block_size:
            raise OSError(errno.EINVAL, "not whole blocks")

    def _check_write(self, offset: int, length: int) -> None:
        self._check(offset, length)
        if self.is_read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
