"""The way of a namespace's commands to whoever serves it now."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dpucsi.nvme_tcp.host_queue import ConnectionLostError
from dpucsi.nvme_tcp.status import NvmeError
from emulated_card.controller import Controller
from emulated_card.state import Fail, Gone, Send, State, after_error, step

AnswerT = TypeVar("AnswerT")


class Gate:
    """One namespace's; commands wait in it while there is nobody to send them to."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._changed = asyncio.Event()

    @property
    def state(self) -> State:
        """The state now."""
        return self._state

    def set(self, state: State) -> None:
        """A new state; whoever waits goes on by it. After Gone nothing changes any more."""
        if isinstance(self._state, Gone):
            return
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()

    async def run(self, command: Callable[[Controller], Awaitable[AnswerT]]) -> AnswerT:
        """The command's answer, from as many controllers as it takes; raises OSError with the errno for the Host."""
        lost: Controller | None = None
        tries = 0
        while True:
            match step(self._state, lost):
                case Fail(number):
                    raise OSError(number, os.strerror(number))
                case Send(controller):
                    try:
                        return await command(controller)
                    except ConnectionLostError:
                        lost = controller
                    except NvmeError as error:
                        tries += 1
                        failed = after_error(error, tries)
                        if failed is not None:
                            raise OSError(failed.number, str(error)) from error
                case _:
                    await self._changed.wait()
