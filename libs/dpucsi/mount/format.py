"""Makes a file system, on a disk that `decide` gave free and that was verified right before."""

from pathlib import Path

from dpucsi.errors import FailedPreconditionError, UnavailableError
from dpucsi.mount.command import run
from dpucsi.mount.stats import held

TIMEOUT_S = 600.0  # bounded earlier by the operation's own deadline

# Never -F or -f: mkfs.xfs refuses what it finds by itself; mkfs.ext4 asks only on a terminal, so the probe before is
# its only guard. Both open the disk exclusively, so two of them cannot run at the same time, nor over a mount.
# No discard: a new volume is thin and empty already. No root reserve: a volume is not a system disk.
COMMANDS = {
    "ext4": ("mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard"),
    "xfs": ("mkfs.xfs", "-q", "-K"),
}


async def make_file_system(node: Path, fs_type: str) -> None:
    """Raises FailedPreconditionError with the program's words, UnavailableError while another one has the disk.

    When the caller leaves, mkfs goes on to its end; until then it holds the disk, and a second one is refused.
    """
    ended = await run([*COMMANDS[fs_type], str(node)], timeout_s=TIMEOUT_S, keep_running=True)
    if ended.code != 0 and await held(node):
        raise UnavailableError(
            f"{COMMANDS[fs_type][0]} could not have {node} for itself, perhaps a former one still runs on it; try again"
        )
    if ended.code != 0:
        raise FailedPreconditionError(f"{COMMANDS[fs_type][0]} failed on {node}: {ended.words}")
