"""The network namespace of a lab: every process of the lab lives in it, so fixed addresses and ports are free."""

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from dpucsi.errors import UnavailableError
from dpucsi.testing.kube.process import command

_CLONE_NEWNET = 0x40000000  # sched.h
CONNECT_S, START_S = 1.0, 10.0


class NetworkNamespace:
    """A namespace that the file `path` keeps alive, with all `addresses` on its loopback device."""

    def __init__(self, path: Path, addresses: tuple[str, ...]) -> None:
        self.path = path
        self.addresses = addresses

    def make(self) -> None:
        """Makes it; one that is there is kept."""
        if self.exists:
            return
        self.path.touch()
        command(["unshare", f"--net={self.path}", "true"])
        words = [f"address add {address}/32 dev lo" for address in self.addresses]
        for line in ("link set lo up", *words):
            command(self.enter("ip", *line.split()))

    def remove(self) -> None:
        """Lets it go; it ends with its last process."""
        with suppress(UnavailableError):
            command(["umount", str(self.path)])
        self.path.unlink(missing_ok=True)

    @property
    def exists(self) -> bool:
        """True between make() and remove()."""
        return self.path.exists() and self.path.stat().st_dev != self.path.parent.stat().st_dev

    def enter(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in it, in this machine's own mount namespace."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def processes(self) -> Iterator[int]:
        """The pids of all that lives in it."""
        if not self.exists:
            return
        inode = self.path.stat().st_ino
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (folder / "ns" / "net").stat().st_ino == inode:
                    yield int(folder.name)

    async def accepts(self, host: str, port: int) -> bool:
        """True where something in it accepts connections."""
        return await asyncio.get_running_loop().run_in_executor(self._inside, _accepts, host, port)

    @cached_property
    def _inside(self) -> ThreadPoolExecutor:
        """One thread that has moved into the namespace: sockets belong to where they were made."""
        return ThreadPoolExecutor(1, thread_name_prefix="netns", initializer=self.move_thread)

    def move_thread(self) -> None:
        """Moves the calling thread into the namespace, for good."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns({self.path})")
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Ends the thread inside."""
        if "_inside" in self.__dict__:
            self.__dict__.pop("_inside").shutdown()


class Relay:
    """A unix socket here that stands for a TCP port inside: for clients that cannot leave our network namespace."""

    def __init__(self, namespace: NetworkNamespace, host: str, port: int, path: Path) -> None:
        self.path = path
        self._namespace = namespace
        self._where = (host, port)
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"relay {path.name}", daemon=True)
        self._thread.start()
        if not self._is_up.wait(START_S):
            raise UnavailableError(f"{path} does not come up")

    def close(self) -> None:
        """Ends every connection and removes the socket."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        self._namespace.move_thread()
        self.path.unlink(missing_ok=True)
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_unix_server(self._serve, self.path))
        self._is_up.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._where)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def _accepts(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), CONNECT_S):
        return True
    return False
