"""`make quickstart ARGS=--faults`: what happens to a volume under write load while things die, with a line per event.

A storage node is killed and back, a network path is cut and healed, the DPU's SPDK is killed and back, and at last the
volume is fenced. Blocks are written all the time, each durable before it counts as acknowledged; after the first three
events the disk is read past every cache and compared with what was acknowledged.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from dpucsi.spdk.jsonrpc import Json
from dpucsi.testing.lab import Lab
from dpucsi.testing.ledger import Ledger
from dpucsi.testing.orchestrator import Claim, Orchestrator

BEFORE_S, AWAY_S, AFTER_S = 4.0, 8.0, 4.0
AFTER_FENCE_S = 20.0


class FaultsStory:
    """`say` prints a line. I/O without any path must wait for longer than AWAY_S in this lab before it fails."""

    def __init__(self, say: Callable[[str], None], lab: Lab, orchestrator: Orchestrator, claim: Claim) -> None:
        self._print = say
        self._lab = lab
        self._orchestrator = orchestrator
        self._claim = claim
        self._ledger = Ledger(orchestrator.target_path(claim) / "ledger")
        self._began = time.monotonic()

    async def tell(self) -> bool:
        """Plays it; False where a write was lost or came late."""
        await self._ledger.start()
        await self._ledger.progress(1, timeout_s=20)
        self._say("a writer runs: one block of 4 KiB after the other, each made durable before it is acknowledged")
        await self._event("the storage node's SPDK", self._kill_storage, self._start_storage)
        await self._event("the network path", self._cut_path, self._heal_path)
        await self._event("the DPU's SPDK", self._kill_dpu, self._start_dpu)
        await self._ledger.stop()
        lost = await asyncio.to_thread(self._ledger.lost)
        count = self._ledger.acknowledged
        self._say(f"proof: {count} writes acknowledged, {len(lost)} of them lost; the file system was never remounted")
        for line in lost[:5]:
            self._say(f"  {line}")
        return not lost and await self._fence()

    async def _event(self, what: str, strike: Callable[[], Awaitable[str]], heal: Callable[[], Awaitable[str]]) -> None:
        await asyncio.sleep(BEFORE_S)
        self._say(f"{what}: {await strike()}")
        before = self._ledger.acknowledged
        await asyncio.sleep(AWAY_S)
        meanwhile = self._ledger.acknowledged - before
        self._say(f"{what}: {await heal()}; {meanwhile} writes were acknowledged meanwhile, the writer waits, no error")
        healed = time.monotonic()
        await self._ledger.progress(1, timeout_s=60)
        self._say(f"{what}: the first write after it came {time.monotonic() - healed:.1f} s later")
        await asyncio.sleep(AFTER_S)

    async def _kill_storage(self) -> str:
        self._lab.processes["storage"].kill()
        return "killed; it forgets every export, and keeps the lvols"

    async def _start_storage(self) -> str:
        await self._lab.start("storage")
        await self._orchestrator.exports_back()
        return "back, its export made again under the same host NQN, as VolumeAttachments remember it"

    async def _cut_path(self) -> str:
        port = str(self._lab.storage_port)
        await self._set_faults({"action": "cut", "kind": "listener", "traddr": "127.0.0.1", "trsvcid": port})
        return "cut; connections are dropped and none is taken"

    async def _heal_path(self) -> str:
        await self._set_faults()
        return "healed"

    async def _kill_dpu(self) -> str:
        self._lab.processes["dpu"].kill()
        return "killed; the card keeps the disk on the Host"

    async def _start_dpu(self) -> str:
        await self._lab.start("dpu")
        return "back, empty; opi-bridge replays what was attached"

    async def _fence(self) -> bool:
        writer = Ledger(self._ledger.path.with_name("ledger-2"))
        await writer.start()
        await writer.progress(5, timeout_s=20)
        await self._orchestrator.unpublish(self._claim)
        before = self._hash()
        self._say("ControllerUnpublishVolume returned while the writer still writes: the old host NQN is cut off")
        code = await writer.failed(timeout_s=AFTER_FENCE_S + 40)
        self._say(f"the Host is told: {os.strerror(code)}")
        await asyncio.sleep(AFTER_FENCE_S)
        await writer.stop()
        same = self._hash() == before
        self._say(
            f"proof: {AFTER_FENCE_S:.0f} s later the volume's bytes on the storage node are "
            + ("the same, to the last bit" if same else "not the same")
        )
        return same

    async def _set_faults(self, *rules: Json) -> None:
        async with self._lab.spdk("storage") as spdk:
            await spdk.call("emulator_set_faults", {"rules": list(rules)})

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(lvol_files(self._lab)):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _say(self, text: str) -> None:
        self._print(f"  {time.monotonic() - self._began:6.1f} s  {text}")


def lvol_files(lab: Lab) -> list[Path]:
    """The bytes of every lvol on the lab's storage node."""
    return [path for path in (lab.root / "storage" / "disk0.img.lvs").iterdir() if path.suffix == ""]
