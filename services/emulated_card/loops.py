"""Loop devices, by losetup(8); they outlive who made them.

A program does it, and no thread of ours: the kernel asks the file under the device, which this very process serves. A
thread that waits for our own answer could not end when we are killed, and what it holds open would keep the file, and
everybody who waits for it, alive (FUSE's known deadlock).
"""

import asyncio
from pathlib import Path

from dpucsi.errors import DpucsiError, UnavailableError
from dpucsi.mount.command import run
from emulated_card.loop_numbers import make_loop, remove_loop

LOSETUP_S = 10.0
_BLOCK = Path("/sys/block")
_unused: set[int] = set()  # devices of ours with nothing under them, which somebody still had open


async def attach(path: Path, block_size: int, *, is_read_only: bool) -> int:
    """The number of a new loop device over `path`, past the page cache; raises UnavailableError, TimedOutError."""
    options = ["--direct-io=on", f"--sector-size={block_size}", *(["--read-only"] if is_read_only else [])]
    number = await asyncio.to_thread(make_loop)
    try:
        await _losetup(*options, str(_node(number)), str(path))
    except DpucsiError:
        _unused.add(number)
        raise
    finally:
        await _tidy()
    return number


async def detach(path: Path) -> None:
    """Lets go of every loop device over `path`, now or when its last user closes it. Fine when there is none."""
    for number in below(path):
        await _losetup("--detach", str(_node(number)))
        _unused.add(number)
    await _tidy()


async def refresh_size(number: int, path: Path) -> None:
    """The file has another size now. The kernel's own idea of it has to be renewed first."""
    ended = await run(["stat", str(path)], timeout_s=LOSETUP_S)
    if ended.code:
        raise UnavailableError(f"{path} cannot be looked at: {ended.words}")
    await _losetup("--set-capacity", str(_node(number)))


def below(path: Path) -> list[int]:
    """Every loop device over `path`, or a file below it, as the kernel remembers the name: no look at the file."""
    found = []
    for entry in _BLOCK.glob("loop*"):
        try:
            backing = Path((entry / "loop/backing_file").read_text().rstrip("\n"))
        except OSError:  # nothing under it
            continue
        if backing.is_relative_to(path):
            found.append(int(entry.name.removeprefix("loop")))
    return found


def dev_of(number: int) -> int:
    """Its device number, as in st_rdev."""
    return _node(number).stat().st_rdev


async def _tidy() -> None:
    """Removes devices that nobody uses any more. No look at any file of ours is taken by it: a thread may do that."""
    for number in sorted(_unused):
        if await asyncio.to_thread(remove_loop, number):
            _unused.discard(number)


def _node(number: int) -> Path:
    return Path(f"/dev/loop{number}")


async def _losetup(*arguments: str) -> None:
    ended = await run(["losetup", *arguments], timeout_s=LOSETUP_S)
    if ended.code:
        raise UnavailableError(f"losetup {' '.join(arguments)}: {ended.words}")
