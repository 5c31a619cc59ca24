"""The card beside the event loop: what is wanted is written down at once, and done in a thread, one after the other."""

import asyncio
from pathlib import Path

import structlog

from dpucsi.errors import DpucsiError
from dpucsi.model import HostFunction
from spdk_emulator.card.board import Board
from spdk_emulator.card.view import ControllerView

log = structlog.get_logger(__name__)


class EmulatedCard:
    """See spdk_emulator.card.view.Card. `recovery_s`: how long devices of an earlier process wait."""

    def __init__(self, board: Board, recovery_s: float) -> None:
        self._board = board
        self._wanted: dict[HostFunction, ControllerView | None] = {}
        self._news = asyncio.Event()
        self._is_closing = False
        self._recovery_s = recovery_s
        loop = asyncio.get_running_loop()
        self._give_up_at: float | None = loop.time() + recovery_s if board.waiting else None
        self._working = loop.create_task(self._work())

    def show(self, function: HostFunction, view: ControllerView | None) -> None:
        """See Card. Only the latest look counts; what came and went meanwhile is never shown."""
        self._wanted[function] = view
        self._news.set()

    async def close(self) -> None:
        """Withdraws everything, also from under whoever uses it."""
        self._is_closing = True
        self._news.set()
        await self._working
        await asyncio.to_thread(self._board.withdraw_all)

    async def _work(self) -> None:
        while not self._is_closing:
            try:
                async with asyncio.timeout_at(self._give_up_at):
                    await self._news.wait()
            except TimeoutError:
                self._give_up_at = None
                await asyncio.to_thread(self._board.give_up_waiting)
                continue
            self._news.clear()
            while self._wanted:
                function = next(iter(self._wanted))
                await self._apply(function, self._wanted.pop(function))

    async def _apply(self, function: HostFunction, view: ControllerView | None) -> None:
        try:
            await asyncio.to_thread(self._board.apply, function, view)
        except (OSError, DpucsiError) as wrong:
            log.error("the card cannot show this", function=str(function), error=str(wrong))


def functions_folder(card: Path) -> Path:
    """Where VFIOUSER listeners of this card have their folders."""
    return card / "functions"
