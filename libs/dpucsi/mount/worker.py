"""Calls that a dead device can hold for ever, each in a thread of its own and with a deadline.

Without it a dead device hangs its callers (kubernetes issue 101622). A thread in an uninterruptible call cannot be
stopped: it is left behind, and as long as it hangs the same question is refused at once, so that a device that died
does not collect threads.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from dpucsi.aio import remaining
from dpucsi.errors import TimedOutError, UnavailableError

ResultT = TypeVar("ResultT")
_hanging: set[str] = set()


async def with_deadline(question: str, ask: Callable[[], ResultT], *, timeout_s: float) -> ResultT:
    """What `ask` returns or raises. TimedOutError when it hangs, UnavailableError while an earlier one still does."""
    if question in _hanging:
        raise UnavailableError(f"{question}: an earlier try still hangs, the device does not answer; try again later")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[ResultT] = loop.create_future()

    def deliver(result: ResultT | None, failed: BaseException | None) -> None:
        if answer.done():
            return
        if failed is not None:
            answer.set_exception(failed)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where ResultT allows it

    def work() -> None:
        result, failed = None, None
        try:
            result = ask()
        except BaseException as error:  # noqa: BLE001  # carried to the caller, whatever it is
            failed = error
        _hanging.discard(question)
        try:
            loop.call_soon_threadsafe(deliver, result, failed)
        except RuntimeError:
            return  # the loop has closed: nobody waits any more

    _hanging.add(question)
    threading.Thread(target=work, name=f"ask {question}", daemon=True).start()
    allowed = remaining(timeout_s)
    try:
        async with asyncio.timeout(allowed):
            return await answer
    except TimeoutError as late:
        raise TimedOutError(f"{question}: no answer within {allowed:.1f} s, the device does not answer") from late
