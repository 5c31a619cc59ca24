"""Runs one program: no shell, nothing on stdin, a deadline, its own words in the error.

Arguments are seen by every user of the Host: no secrets in them, ever.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from dpucsi.aio import remaining
from dpucsi.errors import FailedPreconditionError, TimedOutError

# The same words in every locale, the system's programs first; nothing else of our environment.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
WORDS_MAX = 500  # characters of a program's own message that go into an error

log = structlog.get_logger(__name__)
_dying: set["asyncio.Task[Ended]"] = set()


@dataclass(frozen=True)
class Ended:
    """How a program ended: exit code (negative: the signal that killed it) and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it said, in one line, for an error."""
        said = " ".join((self.err.strip() or self.out.strip()).split())
        return f"exit code {self.code}: {said[:WORDS_MAX] or 'no message'}"


async def run(argv: Sequence[str], *, timeout_s: float) -> Ended:
    """Runs `argv` to its end. Raises TimedOutError.

    A caller that leaves (deadline or cancellation) stops the program, and does not wait until it is gone: one that
    hangs in a dead device cannot be killed.
    """
    running = asyncio.ensure_future(_run(argv))
    allowed = remaining(timeout_s)
    try:
        done, _ = await asyncio.wait([running], timeout=allowed)
    except asyncio.CancelledError:
        _stop(running)
        raise
    if not done:
        _stop(running)
        raise TimedOutError(f"{argv[0]} did not end within {allowed:.1f} s ({argv[-1]}); try again")
    return running.result()


async def _run(argv: Sequence[str]) -> Ended:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
        )
    except OSError as failed:
        raise FailedPreconditionError(
            f"the program {argv[0]} cannot be run: {failed.strerror}; install it on this Host"
        ) from failed
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    code = process.returncode
    log.debug("program ended", program=os.path.basename(argv[0]), code=code)  # noqa: PTH119  # a word, not a path
    return Ended(code if code is not None else -1, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _stop(running: "asyncio.Task[Ended]") -> None:
    running.cancel()
    _dying.add(running)
    running.add_done_callback(_dying.discard)
