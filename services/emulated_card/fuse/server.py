"""One file, served by the event loop: requests are read from /dev/fuse, each runs in a task, answers in any order."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import structlog

from emulated_card.fuse import mounts, protocol
from emulated_card.fuse.protocol import Opcode, Request

log = structlog.get_logger(__name__)
DEVICE = "/dev/fuse"
BACKGROUND = 32  # requests at a time; each may hold half a MiB while its namespace waits
_AT_ONCE = 16  # requests taken in one turn of the event loop, so that one busy file does not starve the others
_UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
_FINE = frozenset({Opcode.FLUSH, Opcode.RELEASE, Opcode.DESTROY})


class Bytes(Protocol):
    """What is behind a file: offsets and lengths in bytes; failures are OSError with the errno to answer."""

    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def block_size(self) -> int: ...  # noqa: D102
    @property
    def is_read_only(self) -> bool: ...  # noqa: D102

    async def read(self, offset: int, length: int) -> bytes: ...  # noqa: D102
    async def write(self, offset: int, data: bytes) -> None: ...  # noqa: D102
    async def flush(self) -> None: ...  # noqa: D102
    async def discard(self, offset: int, length: int) -> None: ...  # noqa: D102
    async def write_zeroes(self, offset: int, length: int) -> None: ...  # noqa: D102


# One for all files: a message is taken apart before the next one is read.
_buffer = bytearray(protocol.REQUEST_MAX)
_view = memoryview(_buffer)


class FuseFile:
    """A file over `content` at `point`, from `open` to `close`."""

    def __init__(self, point: Path, content: Bytes) -> None:
        self.point = point
        self._content = content
        self._running: dict[int, asyncio.Task[None]] = {}
        self._writes_may_end = asyncio.Event()
        self._writes_may_end.set()
        self._device = -1

    def open(self) -> None:
        """Mounts it and begins to serve; raises OSError."""
        self.point.parent.mkdir(parents=True, exist_ok=True)
        self.point.touch(mode=0o600)
        self._device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mounts.mount(self._device, self.point, is_read_only=self._content.is_read_only)
        except OSError:
            os.close(self._device)
            raise
        asyncio.get_running_loop().add_reader(self._device, self._take)

    def fail_running(self) -> None:
        """What is running ends with EIO."""
        for task in self._running.values():
            task.cancel()

    async def close(self) -> None:
        """Unmounts it. What is running fails with EIO, and so does everything later by whoever still has it open."""
        if self._device < 0:
            return
        asyncio.get_running_loop().remove_reader(self._device)
        running = list(self._running.values())
        self.fail_running()
        await asyncio.gather(*running, return_exceptions=True)
        with contextlib.suppress(OSError):  # somebody else unmounted it
            mounts.unmount(self.point)
        os.close(self._device)
        self._device = -1
        with contextlib.suppress(OSError):
            self.point.unlink()

    @contextlib.contextmanager
    def writes_held(self) -> Iterator[None]:
        """No write ends inside: the kernel drops attributes, a new size too, that it asked for before one ended.

        See fuse_change_attributes and attr_version in fs/fuse/inode.c.
        """
        self._writes_may_end.clear()
        try:
            yield
        finally:
            self._writes_may_end.set()

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                length = os.readv(self._device, [_buffer])
            except BlockingIOError:
                return
            except OSError as gone:
                if gone.errno in (errno.ENOENT, errno.EINTR):  # the request was interrupted before we had it
                    continue
                log.warning("file unmounted by somebody else", point=str(self.point), error=gone.strerror)
                asyncio.get_running_loop().remove_reader(self._device)
                return
            self._begin(_view[:length])

    def _begin(self, message: memoryview) -> None:
        request = Request.parse(message)
        unique, content = request.unique, self._content
        match request.opcode:
            case Opcode.READ:
                self._run(unique, self._read, *protocol.ranged(message))
            case Opcode.WRITE:
                offset, _ = protocol.ranged(message)
                self._run(unique, self._write, offset, protocol.written(message))
            case Opcode.FSYNC:
                self._run(unique, self._flush)
            case Opcode.FALLOCATE:
                self._run(unique, self._fallocate, *protocol.fallocated(message))
            case Opcode.GETATTR | Opcode.SETATTR:
                self._answer(
                    unique,
                    protocol.attributes(content.size, content.block_size, is_read_only=content.is_read_only),
                )
            case Opcode.OPEN:
                self._answer(unique, protocol.opened())
            case Opcode.STATFS:
                self._answer(unique, protocol.statistics(content.size, content.block_size))
            case Opcode.INIT:
                self._answer(unique, protocol.init_answer(message, BACKGROUND))
            case opcode if opcode in _FINE:
                self._answer(unique, b"")
            case opcode if opcode not in _UNANSWERED:
                self._refuse(unique, errno.ENOSYS)

    def _run(self, unique: int, work: Callable[..., Awaitable[bytes]], *arguments: Any) -> None:
        task = asyncio.ensure_future(self._worked(unique, work, *arguments))
        self._running[unique] = task
        task.add_done_callback(lambda task: self._ended(unique, task))

    async def _worked(self, unique: int, work: Callable[..., Awaitable[bytes]], *arguments: Any) -> None:
        try:
            self._answer(unique, await work(*arguments))
        except OSError as failed:
            self._refuse(unique, failed.errno or errno.EIO)
        except Exception:
            log.exception("request broke", point=str(self.point))
            self._refuse(unique, errno.EIO)

    def _ended(self, unique: int, task: "asyncio.Task[None]") -> None:
        del self._running[unique]
        if task.cancelled():  # perhaps before it began
            self._refuse(unique, errno.EIO)

    async def _read(self, offset: int, length: int) -> bytes:
        within = min(length, self._content.size - offset)
        return await self._content.read(offset, within) if within > 0 else b""

    async def _write(self, offset: int, data: bytes) -> bytes:
        if offset + len(data) > self._content.size:
            raise OSError(errno.ENOSPC, "beyond the end")
        await self._content.write(offset, data)
        await self._writes_may_end.wait()
        return protocol.accepted(len(data))

    async def _flush(self) -> bytes:
        await self._content.flush()
        return b""

    async def _fallocate(self, mode: int, offset: int, length: int) -> bytes:
        if mode & protocol.PUNCH_HOLE:
            await self._content.discard(offset, length)
        elif mode & protocol.ZERO_RANGE:
            await self._content.write_zeroes(offset, length)
        else:
            raise OSError(errno.EOPNOTSUPP, "neither a hole nor zeroes")
        return b""

    def _answer(self, unique: int, body: bytes | None) -> None:
        if body is None:
            self._refuse(unique, errno.EPROTO)
        else:
            self._send([protocol.answer(unique, len(body)), body])

    def _refuse(self, unique: int, number: int) -> None:
        self._send([protocol.refusal(unique, number)])

    def _send(self, parts: list[bytes]) -> None:
        # ENOENT: the asker was killed meanwhile; ENODEV, EINVAL, EPERM: unmounted. Nobody waits for this answer.
        with contextlib.suppress(OSError):
            os.writev(self._device, parts)
