"""Builds the objects of spdk-emulator and runs them until SIGTERM."""

import asyncio
import os
import resource
import signal
import socket
from pathlib import Path

import structlog

from dpucsi.errors import UnavailableError
from dpucsi.spdk.endpoint import Endpoint
from spdk_emulator import methods
from spdk_emulator.config import Config
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc import table
from spdk_emulator.rpc.server import RpcServer
from spdk_emulator.startup import apply_startup

log = structlog.get_logger(__name__)
BACKLOG = 512


async def serve_spdk_emulator(config: Config) -> None:
    """Serves until SIGTERM or SIGINT, then unplugs what it has plugged in and ends."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # A file for each lvol in use, a socket for each queue: more than the usual soft limit of 1,024 allows.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    emulator = Emulator(attach_s=config.attach_ms / 1000)
    try:
        if config.json is not None:
            await apply_startup(emulator, config.json)
        server = RpcServer(
            listen(config.rpc), lambda name, params: table.call(emulator, name, params), config.look_ms / 1000
        )
        log.info("serving", endpoint=config.rpc, families=len(methods.__all__), methods=len(table.names()))
        await stopping.wait()
        server.close()
        _remove_socket(config.rpc)
    finally:
        emulator.close()


def listen(endpoint: str) -> socket.socket:
    """The JSON-RPC socket, for its owner alone where it is a file; a dead one of an earlier process is replaced."""
    where = Endpoint.parse(endpoint)
    try:
        if where.scheme != "unix":
            family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
            return socket.create_server((where.host, where.port), family=family, backlog=BACKLOG)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _remove_stale(where.path)
        mask = os.umask(0o177)
        try:
            sock.bind(where.path)
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
    except OSError as refused:
        raise UnavailableError(
            f"cannot listen on {endpoint}: {refused}; stop whoever does, or choose another"
        ) from refused
    return sock


def _remove_stale(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except FileNotFoundError:
            return


def _remove_socket(endpoint: str) -> None:
    where = Endpoint.parse(endpoint)
    if where.scheme == "unix":
        Path(where.path).unlink(missing_ok=True)
