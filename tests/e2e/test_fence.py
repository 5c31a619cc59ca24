"""ControllerUnpublish is a fence: from the moment it returned, not one byte of the old DPU reaches the volume.

Volumes are mounted and written to with fsync, all through the real path: Host file system, loop device, FUSE file, the
card, the DPU's SPDK, NVMe/TCP, the storage node's SPDK. `DPUCSI_FENCE_S` is how long the bytes are watched afterwards
(2 in CI), `DPUCSI_FENCE_VOLUMES` how many volumes each of the three cases fences (2 in CI).
"""

import asyncio
import errno
import hashlib
import os
import signal
from pathlib import Path

import pytest

from dpucsi.testing.lab import Lab
from dpucsi.testing.ledger import Ledger
from dpucsi.testing.orchestrator import Claim, Orchestrator, mount_capability
from dpucsi.testing.snapshot import State, comes_to

WATCH_S = float(os.environ.get("DPUCSI_FENCE_S", "2"))
VOLUMES = int(os.environ.get("DPUCSI_FENCE_VOLUMES", "2"))
MIB = 1 << 20

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300 + 10 * WATCH_S)]


class Fenced:
    """One volume under load, and its bytes on the storage node."""

    def __init__(self, lab: Lab, orchestrator: Orchestrator, number: int) -> None:
        self._lab = lab
        self._orchestrator = orchestrator
        fs_type = ("ext4", "xfs")[number % 2]
        self.claim = Claim(f"fence-{number}", size_bytes=320 * MIB, capability=mount_capability(fs_type))
        self.ledger = Ledger(orchestrator.target_path(self.claim) / "ledger")
        self._bytes: Path | None = None

    async def begin(self) -> None:
        before = lvol_files(self._lab)
        await self._orchestrator.create(self.claim)
        (self._bytes,) = lvol_files(self._lab) - before
        for _, act in self._orchestrator.forward(self.claim)[1:]:
            await act()
        await self.ledger.start()
        await self.ledger.progress(20, timeout_s=30)

    async def unpublish(self) -> str:
        """The hash of the volume's bytes right after the fence."""
        await self._orchestrator.unpublish(self.claim)
        return self.hash()

    def hash(self) -> str:
        assert self._bytes is not None
        with self._bytes.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    async def end(self) -> None:
        await self.ledger.stop()
        await self._orchestrator.node_unpublish(self.claim)
        await self._orchestrator.unstage(self.claim)
        await self._orchestrator.delete(self.claim)


def lvol_files(lab: Lab) -> set[Path]:
    return {path for path in (lab.root / "storage" / "disk0.img.lvs").iterdir() if path.suffix == ""}


async def strike(lab: Lab, how: str) -> None:
    if how == "stopped":
        lab.processes["dpu"].pause()
    elif how == "killed":
        lab.processes["dpu"].kill()


async def bring_back(lab: Lab, how: str) -> None:
    if how == "stopped":
        os.kill(lab.processes["dpu"].pid, signal.SIGCONT)
    elif how == "killed":
        await lab.start("dpu")


@pytest.mark.parametrize("how", ["alive", "stopped", "killed"])
async def test_no_byte_after_the_fence(lab: Lab, orchestrator: Orchestrator, baseline: State, how: str) -> None:
    """The DPU is well, or hangs, or is dead, and comes back in the middle of the watch with its old host NQN."""
    fenced = [Fenced(lab, orchestrator, number) for number in range(VOLUMES)]
    for volume in fenced:
        await volume.begin()
    await strike(lab, how)
    hashes = await asyncio.gather(*(volume.unpublish() for volume in fenced))
    await watched(fenced, hashes, WATCH_S / 2)
    await bring_back(lab, how)
    await watched(fenced, hashes, WATCH_S / 2)
    for volume in fenced:  # the Host hears of it: no silence
        assert await volume.ledger.failed(timeout_s=60) in (errno.EIO, errno.EROFS, errno.ESHUTDOWN)
    await watched(fenced, hashes, 0)
    for volume in fenced:
        await volume.end()
    await comes_to(lab, baseline, timeout_s=20)


async def watched(fenced: list[Fenced], hashes: list[str], seconds: float) -> None:
    """Looks again and again until the time is over; a change would stay, but when it came helps to find it."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        for volume, before in zip(fenced, hashes, strict=True):
            assert await asyncio.to_thread(volume.hash) == before, f"{volume.claim.name} changed after its fence"
        left = end - asyncio.get_running_loop().time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, 1.0))
