"""What is on a disk, without ever taking "could not read it" for "there is nothing".

blkid exits with 2 both for a blank disk and for one that it could not read; taking the second for the first has cost
people their data (kubernetes issue 142243, trident issue 418). So every place where blkid looks for a superblock or a
partition table is read first, past the page cache. Where all of them hold zeroes the disk is blank, and blkid is not
asked. It is for all others, and behind its answer "nothing found" they are read once more.
"""

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from dpucsi.errors import FailedPreconditionError, UnavailableError
from dpucsi.mount.command import Ended, run
from dpucsi.mount.worker import with_deadline

TIMEOUT_S = 20.0
ALIGNED = 4096  # O_DIRECT wants multiples of the logical block size, at most this
REGION = 1 << 20  # first and last MiB: ext, xfs, LVM, LUKS, md, GPT and its copy, ZFS labels
# One block each, between the two: copies of a LUKS2 header at 1, 2 and 4 MiB, VMFS and bcache at the first two of
# these, copies of a btrfs superblock at 64 MiB and 256 GiB.
BLOCKS = (1 << 20, 2 << 20, 4 << 20, 64 << 20, 256 << 30)
PROMISE_RAID = 3087 * 512  # bytes from the end, the farthest of its places

# blkid(8), EXIT STATUS
FOUND, NOTHING, AMBIVALENT = 0, 2, 8

# The label of an xfs whose mkfs has not ended (dpucsi.mount.format); at most 12 characters (xfs_admin(8))
UNFINISHED = "dpucsi-mkfs"

Read = Callable[[Path, int], bool]


class Content(Enum):
    """What blkid says about a disk that is proven readable."""

    NOTHING = "nothing"
    FOUND = "found"
    AMBIVALENT = "ambivalent"


@dataclass(frozen=True)
class Probe:
    """The whole answer. `why` says what could not be read.

    `signature` and `label` are blkid's TYPE and LABEL, "" where it gave none.
    """

    readable: bool
    content: Content = Content.NOTHING
    signature: str = ""
    label: str = ""
    partition_table: str = ""
    why: str = ""

    @property
    def unfinished(self) -> bool:
        """Whether it is a file system that our mkfs did not end, so that nobody ever mounted it."""
        return self.content is Content.FOUND and self.signature == "xfs" and self.label == UNFINISHED

    def __str__(self) -> str:
        if not self.readable:
            return f"unreadable ({self.why})"
        parts = [self.signature, f"a {self.partition_table} partition table" if self.partition_table else ""]
        return " and ".join(part for part in parts if part) or self.content.value


async def probe(node: Path, size_bytes: int, read: Read | None = None) -> Probe:
    """Looks at the disk behind `node`, `size_bytes` long. Raises TimedOutError where it does not answer."""
    read = read or is_all_zeroes
    try:
        if await _ask(read, node, size_bytes):
            return Probe(readable=True)
        # -p: look at the disk itself, not into blkid's cache of former looks
        ended = await run(["blkid", "-p", "-o", "export", str(node)], timeout_s=TIMEOUT_S)
        if ended.code == NOTHING:
            await _ask(read, node, size_bytes)
    except OSError as failed:
        return Probe(readable=False, why=failed.strerror or str(failed))
    return interpret(node, ended)


def interpret(node: Path, ended: Ended) -> Probe:
    """blkid's answer about a readable disk; anything that is not understood is an error, never "nothing"."""
    if ended.code == NOTHING and not ended.out.strip():
        return Probe(readable=True)
    if ended.code == AMBIVALENT:
        return Probe(readable=True, content=Content.AMBIVALENT)
    if ended.code != FOUND:
        raise UnavailableError(f"blkid could not say what is on {node}: {ended.words}; try again")
    found = dict(line.partition("=")[::2] for line in ended.out.splitlines())
    return Probe(
        readable=True,
        content=Content.FOUND,
        signature=found.get("TYPE", ""),
        label=found.get("LABEL", ""),
        partition_table=found.get("PTTYPE", ""),
    )


def regions(size_bytes: int) -> list[tuple[int, int]]:
    """(offset, length) of what has to be readable on a disk of this size; lengths are multiples of 512."""
    last = max(0, size_bytes - REGION) // ALIGNED * ALIGNED
    wanted = [(0, min(REGION, size_bytes)), (last, size_bytes - last)]
    blocks = [*BLOCKS, (size_bytes - PROMISE_RAID) // ALIGNED * ALIGNED]
    wanted += [(offset, ALIGNED) for offset in blocks if offset >= REGION and offset + ALIGNED <= last]
    return wanted


def is_all_zeroes(node: Path, size_bytes: int) -> bool:
    """Whether all `regions` of the disk itself hold zeroes; OSError where one of them cannot be read whole."""
    disk = os.open(node, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        found = [_is_zeroes(disk, offset, length) for offset, length in regions(size_bytes)]
    finally:
        os.close(disk)
    return all(found)


def _is_zeroes(disk: int, offset: int, length: int) -> bool:
    with (
        mmap.mmap(-1, max(length, mmap.PAGESIZE)) as buffer,
        memoryview(buffer) as view,
    ):  # page-aligned, as O_DIRECT wants
        got = 0
        while got < length:
            step = os.preadv(disk, [view[got:length]], offset + got)
            if step == 0:
                raise OSError(f"ends {length - got} bytes early at offset {offset + got}")
            got += step
        return buffer[:length] == bytes(length)


async def _ask(read: Read, node: Path, size_bytes: int) -> bool:
    if size_bytes < ALIGNED:
        raise FailedPreconditionError(f"{node} has {size_bytes} bytes, too few for any file system")
    return await with_deadline(f"reading {node}", lambda: read(node, size_bytes), timeout_s=TIMEOUT_S)
