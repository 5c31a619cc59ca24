"""Builds the objects of emulated-card and runs them until SIGTERM."""

import asyncio
import fcntl
import os
import signal
from pathlib import Path

import structlog

from dpucsi.errors import FailedPreconditionError, UnavailableError
from emulated_card.card import EmulatedCard
from emulated_card.config import Config
from emulated_card.fuse.server import DEVICE
from emulated_card.session import connect

log = structlog.get_logger(__name__)
PID_FILE = "card.pid"


async def serve_emulated_card(config: Config) -> None:
    """Shows devices until SIGTERM or SIGINT, then takes them away and ends."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    _check_host()
    lock = _locked(config.folder)
    try:
        card = EmulatedCard(config.folder, connect=connect, recovery_s=config.recovery)
        try:
            await card.start()
            os.write(lock, f"{os.getpid()}\n".encode())
            log.info("serving", folder=str(config.folder))
            await stopping.wait()
        finally:
            await card.close()
    finally:
        (config.folder / PID_FILE).unlink(missing_ok=True)
        os.close(lock)


def _check_host() -> None:
    if os.geteuid() != 0:
        raise FailedPreconditionError("loop devices and device nodes need root: run emulated-card as root")
    for device in (Path(DEVICE), Path("/dev/loop-control")):
        if not device.exists():
            raise FailedPreconditionError(
                f"{device} is not there, so no disk can be shown; load the kernel's module, or give the container it"
            )


def _locked(folder: Path) -> int:
    """The open pid file; its text comes once the card is ready. Raises UnavailableError where another card has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / PID_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        os.close(lock)
        raise UnavailableError(f"another emulated-card runs in {folder}; stop it, or choose another folder") from taken
    os.ftruncate(lock, 0)
    return lock
