"""Makes a file system, on a disk that `decide` gave free and that was verified right before.

A mkfs can be cut anywhere: its service is killed, the Host loses power. What is left must never pass for a file system
(ADR 9). mke2fs writes its superblock last, behind an fsync, so a cut one leaves a blank disk. mkfs.xfs writes its
superblock among the first, so ours carries a label that says so, and only when mkfs has ended is the label taken away.
The superblock with the label is one sector, which is written whole or not at all, and both programs end with an fsync.
"""

from pathlib import Path

from dpucsi.aio import outlive
from dpucsi.errors import FailedPreconditionError, UnavailableError
from dpucsi.mount.command import run
from dpucsi.mount.probe import UNFINISHED
from dpucsi.mount.stats import held

TIMEOUT_S = 600.0  # bounded earlier by the operation's own deadline
LONGEST_S = 3600.0  # of a program that nobody waits for any more

# Never -F or -f: mkfs.xfs refuses what it finds by itself; mkfs.ext4 asks only on a terminal, so the probe before is
# its only guard. Both open the disk exclusively, so two of them cannot run at the same time, nor over a mount.
# No discard: a new volume is thin and empty already. No root reserve: a volume is not a system disk.
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ext4": (("mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard"),),
    "xfs": (("mkfs.xfs", "-q", "-K", "-L", UNFINISHED), ("xfs_admin", "-L", "--")),
}

_making: set[Path] = set()


async def make_file_system(node: Path, fs_type: str) -> None:
    """Raises FailedPreconditionError with the program's words, UnavailableError while another one has the disk.

    When the caller leaves, it is made to its end; until then `busy` says so.
    """
    await outlive(f"making {fs_type} on {node}", lambda: _make(node, fs_type), timeout_s=TIMEOUT_S)


async def erase_unfinished(node: Path) -> None:
    """Takes away what a cut mkfs.xfs left: its signature. wipefs opens the disk exclusively and ends with an fsync."""
    await _run(("wipefs", "--all", "--quiet"), node, TIMEOUT_S)


async def busy(node: Path) -> bool:
    """Whether somebody has the disk for himself: a file system, device-mapper, a mkfs that outlived its caller."""
    return node in _making or await held(node)


async def _make(node: Path, fs_type: str) -> None:
    _making.add(node)
    try:
        for command in COMMANDS[fs_type]:
            await _run(command, node, LONGEST_S)
    finally:
        _making.discard(node)


async def _run(command: tuple[str, ...], node: Path, timeout_s: float) -> None:
    ended = await run([*command, str(node)], timeout_s=timeout_s)
    if ended.code != 0 and await held(node):
        raise UnavailableError(
            f"{command[0]} could not have {node} for itself, perhaps a former one still runs on it; try again"
        )
    if ended.code != 0:
        raise FailedPreconditionError(f"{command[0]} failed on {node}: {ended.words}")
