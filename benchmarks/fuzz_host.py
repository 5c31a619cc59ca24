"""Our NVMe/TCP host at a controller that talks nonsense, and on a wire that turns bits: every call ends with a result
or a proper error, at the latest with its connection; nothing is told twice, and with digests no wrong byte is ever
taken for a right one.

    python -m benchmarks.fuzz_host --seconds 60 --seed 1
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from benchmarks.spoiling_proxy import BitFlipper, Proxy, Spoiler
from dpucsi.nvme_tcp.host import ConnectionLostError, HostController
from dpucsi.nvme_tcp.status import NvmeError
from dpucsi.testing.raw_target import BLOCK_SIZE, HOSTNQN, SUBNQN, RawTarget

WAIT_S = 0.5  # for an answer that may never come; then the connection is cut
CALL_S = 5.0  # that a call may go on behind the end of its connection
CONNECT_S = 1.0  # then the caller gives up: setting up has no limit of its own
KATO_MS = 1000
SIZES = (BLOCK_SIZE, 4 * BLOCK_SIZE, 40 * BLOCK_SIZE)
CALLS = 12
ROOM = 64 * BLOCK_SIZE
ResultT = TypeVar("ResultT")
PROPER = (NvmeError, ConnectionLostError)


@dataclass
class HostFindings:
    """What was seen. `failures` is empty where all is well."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """A few lines."""
        lines = [f"{self.cases} cases, {len(self.failures)} failures", f"outcomes: {dict(self.outcomes.most_common())}"]
        return "\n".join([*lines, *self.failures])


class HostFuzzer:
    """`seed` and a case's number make the case."""

    def __init__(self, proxy: Proxy, clean: HostController, seed: int) -> None:
        self._proxy = proxy
        self._clean = clean
        self._seed = seed
        self.found = HostFindings()
        self._what = ""
        asyncio.get_running_loop().set_exception_handler(self._unhandled)

    async def run(self, seconds: float) -> HostFindings:
        """As many cases as there is time for."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not self.found.failures:
            await self.play(self.found.cases)
            self.found.cases += 1
        return self.found

    async def play(self, number: int) -> None:
        """One session."""
        chance = random.Random(f"host:{self._seed}:{number}")
        has_digests = chance.random() < 0.5
        spoiler: Spoiler | BitFlipper
        if has_digests:  # beyond the setting up, which has no digests in its first PDUs, and within the calls
            spoiler = BitFlipper(chance, chance.choice((400, 3000, 30_000, 300_000)) + chance.randrange(9000))
        else:
            spoiler = Spoiler(chance, chance.randint(1, 40))
        self._proxy.spoiler = spoiler
        losses: list[bool] = []
        self._what = f"case {number} (--seed {self._seed})"
        outcome = "refused"
        try:
            host = await self._connect(losses, has_digests=has_digests)
        except TimeoutError:
            outcome = "given up"
        except (*PROPER, OSError):
            pass
        else:
            outcome = await self._use(host, chance, spoiler, has_digests=has_digests)
            host.abort()
            if len(losses) > 1:
                self._fail(f"on_lost was called {len(losses)} times", spoiler.mutation)
        self.found.outcomes[f"{'bit' if has_digests else 'pdu'}: {outcome}"] += 1
        self._proxy.cut()

    async def _connect(self, losses: list[bool], *, has_digests: bool) -> HostController:
        async with asyncio.timeout(CONNECT_S):
            return await connect(self._proxy.port, losses=losses, has_digests=has_digests)

    async def _use(
        self, host: HostController, chance: random.Random, spoiler: Spoiler | BitFlipper, *, has_digests: bool
    ) -> str:
        """How it ended."""
        for _ in range(CALLS):
            size = chance.choice(SIZES)
            offset = chance.randrange((ROOM - size) // BLOCK_SIZE + 1) * BLOCK_SIZE
            data = chance.randbytes(size)
            try:
                await self._in_time(host.write(1, offset, data))
                if has_digests and await self._clean.read(1, offset, size) != data:
                    self._fail("a write that succeeded is not there", spoiler.mutation)
                found = await self._in_time(host.read(1, offset, size))
            except TimeoutError:
                self._fail("a call did not end with its connection", spoiler.mutation)
                return "hung"
            except PROPER as proper:
                return type(proper).__name__
            except Exception as strange:  # noqa: BLE001 - every other one is a finding
                self._fail(f"{strange!r}", spoiler.mutation)
                return "strange"
            if len(found) != size or (has_digests and found != data):
                self._fail("wrong bytes were read", spoiler.mutation)
        return "went on"

    async def _in_time(self, call: Coroutine[Any, Any, ResultT]) -> ResultT:
        """An answer may be missing for ever, as there is no time limit for I/O: the end of the connection is one."""
        task = asyncio.ensure_future(call)
        if not (await asyncio.wait((task,), timeout=WAIT_S))[0]:
            self._proxy.cut()
        async with asyncio.timeout(CALL_S):
            return await task

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._fail(f"nobody handled {context.get('exception') or context['message']!r}", "")

    def _fail(self, what: str, mutation: str) -> None:
        self.found.failures.append(f"{self._what}, {mutation}: {what}")


async def connect(port: int, *, losses: list[bool] | None = None, has_digests: bool = False) -> HostController:
    """Our host at this port of the machine."""
    told = [] if losses is None else losses
    return await HostController.connect(
        partial(asyncio.get_running_loop().create_connection, host="127.0.0.1", port=port),
        subnqn=SUBNQN,
        hostnqn=HOSTNQN,
        hostid=UUID(int=1),
        kato_ms=KATO_MS,
        hdgst=has_digests,
        ddgst=has_digests,
        on_namespaces=lambda: None,
        on_lost=lambda: told.append(True),
    )


async def fuzz_host(seed: int, seconds: float) -> HostFindings:
    """Starts a target and a proxy, plays, ends them."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        target = await RawTarget(Path(folder)).start()
        proxy = await Proxy(target.port).start()
        clean = await connect(target.port)
        try:
            return await HostFuzzer(proxy, clean, seed).run(seconds)
        finally:
            await clean.disconnect()
            await proxy.stop()
            await target.stop()


def main() -> int:
    """Exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = asyncio.run(fuzz_host(options.seed, options.seconds))
    print(found.describe())
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
