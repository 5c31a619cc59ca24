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
_left_behind: set["asyncio.Task[Ended]"] = set()


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


async def run(argv: Sequence[str], *, timeout_s: float, keep_running: bool = False) -> Ended:
    """Runs `argv` to its end. Raises TimedOutError.

    A caller that leaves (deadline or cancellation) stops the program, except with `keep_running`: a mkfs that is cut
    half-way is worse than one that ends behind our back, and it holds the disk exclusively until then.
    """
    running = asyncio.ensure_future(_run(argv, keep_running))
    allowed = remaining(timeout_s)
    try:
        done, _ = await asyncio.wait([running], timeout=allowed)
    except asyncio.CancelledError:
        _leave(running, keep_running)
        raise
    if not done:
        _leave(running, keep_running)
        raise TimedOutError(f"{argv[0]} did not end within {allowed:.1f} s ({argv[-1]}); try again")
    return running.result()


async def _run(argv: Sequence[str], keep_running: bool) -> Ended:
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
        if not keep_running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        raise
    code = process.returncode
    log.debug("program ended", program=os.path.basename(argv[0]), code=code)  # noqa: PTH119  # a word, not a path
    return Ended(code if code is not None else -1, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _leave(running: "asyncio.Task[Ended]", keep_running: bool) -> None:
    if not keep_running:
        running.cancel()
    _left_behind.add(running)
    running.add_done_callback(_ended_alone)


def _ended_alone(task: "asyncio.Task[Ended]") -> None:
    _left_behind.discard(task)
    if not task.cancelled() and task.exception() is None:
        log.info("program ended after its caller had left", result=task.result().words)
