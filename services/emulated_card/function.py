"""One PCIe function of the card: the session with whoever listens for it, and when the Host sees what it offers.

Everything that happens only wakes `run`, which looks at what is and does the next step of `plan`. Only a lost session
is acted on at once: its disks wait from then on.
"""

import asyncio
import contextlib
from pathlib import Path

import structlog

from dpucsi.errors import DpucsiError
from dpucsi.model import HostFunction
from dpucsi.nvme_tcp.status import NvmeError
from emulated_card.addresses import pci_address
from emulated_card.controller import Controller
from emulated_card.host_side import REMOVE, HostSide
from emulated_card.plan import Seen, Step, give_up_at, plan
from emulated_card.site import Site
from emulated_card.watch import COMES_AND_GOES

log = structlog.get_logger(__name__)
SOCKET = "cntrl"
# Between two tries to connect. The first ones are quick: a socket is there a moment before it is listened on.
FIRST_S, LONGEST_S, GROWTH = 0.002, 0.2, 1.6
CONNECT_S = 5.0  # who does not answer for so long is tried again
DISCONNECT_S = 3.0
AGAIN_S = 1.0  # after the Host's side failed: no loop device, no space

SocketId = tuple[int, int]


class Function:
    """`folder` is where its listener puts its socket."""

    def __init__(self, place: HostFunction, folder: Path, site: Site) -> None:
        self._place = place
        self._folder = folder
        self._site = site
        self._log = log.bind(function=str(place))
        self._news = asyncio.Event()
        self._pause_s = FIRST_S
        self._session: Controller | None = None
        self._session_socket: SocketId | None = None
        self._connecting: asyncio.Future[Controller] | None = None
        self._served_at = 0.0
        self._lost_at = 0.0
        self._missing_since: float | None = None
        self._is_cut = False
        self._unplugged: tuple[SocketId | None] | None = None  # the listener that it was removed from
        self._is_reset = False
        self._is_closing = False
        self._host_side = HostSide(pci_address(place), site, self._asked)
        site.on_served.append(self.wake)
        self._working = asyncio.get_running_loop().create_task(self._run(), name=f"function {place}")

    def watch(self) -> None:
        """Looks after the folder, which is there anew."""
        with contextlib.suppress(OSError):  # gone again
            self._site.watch.on(self._folder, COMES_AND_GOES, self.listener_changed)
        self.listener_changed()

    def listener_changed(self) -> None:
        """A socket may have come or gone."""
        self._pause_s = FIRST_S
        self.wake()

    def wake(self) -> None:
        """Something may have changed."""
        self._news.set()

    def rescan(self) -> None:
        """Plugs it in again, where it was removed."""
        self._unplugged = None
        self.listener_changed()

    async def close(self) -> None:
        """Takes everything away, in order."""
        self._is_closing = True
        if self._connecting is not None:
            self._connecting.cancel()
        self.wake()
        await self._working
        await self._withdraw()

    async def _run(self) -> None:
        while not self._is_closing:
            self._news.clear()
            try:
                pause_s = await self._advance()
            except (OSError, DpucsiError) as wrong:
                self._log.error("the card cannot show this", error=str(wrong))
                pause_s = AGAIN_S
            except Exception:
                log.exception("the card broke on this", function=str(self._place))
                pause_s = AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def _advance(self) -> float | None:
        """The next step, and the seconds until the one behind it; None: when there is news."""
        now = asyncio.get_running_loop().time()
        overdue_at = self._look(now)
        match plan(self._seen(overdue_at is not None and overdue_at <= now)):
            case Step.CONNECT:
                return await self._connect()
            case Step.SHOW:
                return await self._show(now)
            case Step.RESET:
                await self._reset()
                return 0
            case Step.WITHDRAW:
                await self._withdraw()
                return 0
            case _:
                return None if overdue_at is None else overdue_at - now

    def _look(self, now: float) -> float | None:
        """Notes what is with the socket; when a lost controller is given up on, if that can be said."""
        socket = _socket_id(self._folder / SOCKET)
        if self._session is not None:
            self._is_cut |= socket != self._session_socket
            return None
        if socket is not None:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        if not self._host_side.is_shown:
            return None
        return give_up_at(
            lost_at=self._lost_at,
            missing_since=self._missing_since,
            served_at=self._site.served_at,
            recovery_s=self._site.recovery_s,
        )

    def _seen(self, is_overdue: bool) -> Seen:
        socket = _socket_id(self._folder / SOCKET)
        if self._unplugged is not None and self._unplugged != (socket,):
            self._unplugged = None  # another listener: something new is plugged in
        return Seen(
            has_socket=socket is not None,
            has_session=self._session is not None,
            is_shown=self._host_side.is_shown,
            is_cut=self._is_cut,
            is_unplugged=self._unplugged is not None,
            is_reset=self._is_reset,
            is_overdue=is_overdue,
        )

    async def _connect(self) -> float:
        socket = _socket_id(self._folder / SOCKET)
        connecting = self._connecting = asyncio.ensure_future(
            self._site.connect(self._folder / SOCKET, on_namespaces=self.wake, on_lost=self._lost)
        )
        await asyncio.wait({connecting}, timeout=CONNECT_S)
        connecting.cancel()
        try:
            session = await connecting
        except (OSError, NvmeError, asyncio.CancelledError) as refused:
            self._log.debug("nobody there yet", error=str(refused))
            self._pause_s = min(self._pause_s * GROWTH, LONGEST_S)
            return self._pause_s
        finally:
            self._connecting = None
        self._session, self._session_socket = session, socket
        self._pause_s = FIRST_S
        self._served_at = asyncio.get_running_loop().time()
        self._site.served(self._served_at)
        self._log.info("session begun", subnqn=session.subnqn, namespaces=len(session.namespaces))
        return 0

    def _lost(self) -> None:
        """The session ended without us: its process died, or its listener was taken away."""
        if self._session is None:
            return
        self._is_cut |= _socket_id(self._folder / SOCKET) != self._session_socket
        self._is_reset = False
        self._log.info("session lost", is_cut=self._is_cut)
        self._let_go()

    def _let_go(self) -> None:
        self._session = None
        self._lost_at = asyncio.get_running_loop().time()
        self._host_side.wait()
        self.wake()

    async def _show(self, now: float) -> float | None:
        """Makes what the Host sees what the controller offers; seconds until a namespace that is late is given up."""
        session = self._session
        if session is None:
            return 0
        overdue_at = self._served_at + self._site.recovery_s
        is_complete = await self._host_side.show(session, is_overdue=overdue_at <= now)
        return None if is_complete else overdue_at - now

    async def _reset(self) -> None:
        """A controller that took its leave has no command under way any more, so that one sent again meets no twin."""
        self._is_reset = False
        session = self._session
        self._let_go()
        self._pause_s = FIRST_S
        if session is not None:
            await _take_leave(session)

    async def _withdraw(self) -> None:
        """Ends the session and takes everything from the Host."""
        session, self._session = self._session, None
        self._host_side.fail()
        if session is not None and not self._is_cut:
            await _take_leave(session)
        elif session is not None:
            session.abort()
        await self._host_side.take_away()
        self._is_cut = False

    def _asked(self, control: str) -> None:
        """The Host removes the function, until it looks at the bus again or another is plugged in; or it resets it."""
        self._log.info("asked by the Host", control=control)
        if control == REMOVE:
            self._unplugged = (_socket_id(self._folder / SOCKET),)
        else:
            self._is_reset = self._session is not None
        self.wake()


async def _take_leave(session: Controller) -> None:
    with contextlib.suppress(OSError, NvmeError):
        async with asyncio.timeout(DISCONNECT_S):
            await session.disconnect()
    session.abort()


def _socket_id(path: Path) -> SocketId | None:
    """Tells one listener from the next at the same path: an inode number alone is soon used again."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return (seen.st_ino, seen.st_mtime_ns)
