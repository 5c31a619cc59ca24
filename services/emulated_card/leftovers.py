"""Clears what an earlier card process left when it was killed: its files died with it."""

import contextlib
import shutil
from pathlib import Path

from emulated_card import loops
from emulated_card.fuse import mounts


async def clear(files: Path) -> None:
    """Loop devices go before mounts: what they stand on is known while it is mounted. One in use goes with its user."""
    for point in mounts.mounted_below(files):
        mounts.abort(point)
    await loops.detach(files)
    for point in mounts.mounted_below(files):
        with contextlib.suppress(OSError):
            mounts.unmount(point)
    _empty(files)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
