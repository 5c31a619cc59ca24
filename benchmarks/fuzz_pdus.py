"""Spoils one PDU of a valid NVMe/TCP session after the other against a live target, and watches it: no crash, no hang,
no nonsense in an answer, no growth, and a well-behaved host beside all that never waits.

    python -m benchmarks.fuzz_pdus --seconds 60 --seed 1
    python -m benchmarks.fuzz_pdus --seed 1 --case 4711     # one case again, with what was sent
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzz_sessions import ADMIN, IO, State, Step
from benchmarks.pdu_mutations import MUTATIONS
from dpucsi.aio import wait_until
from dpucsi.errors import TimedOutError
from dpucsi.testing import raw_pdus as raw
from dpucsi.testing.raw_peer import Came, NoAnswerError, RawPeer
from dpucsi.testing.raw_target import Canary, RawTarget

WORKERS = 6
STALL_S = 5.0  # that a step before the mutation may take
QUIET_S = 0.03  # without a PDU, after the mutation: the target waits for more
CANARY_S = 2.0  # that two small I/Os of the well-behaved host may take
GROWTH_MAX = 96 << 20  # bytes
LEAVING_S = 10.0  # until nothing is left of hosts that went
ANSWERS = frozenset({raw.IC_RESP, raw.C2H_TERM, raw.CAPSULE_RESP, raw.C2H_DATA, raw.R2T})


@dataclass
class Findings:
    """What was seen. `failures` is empty where all is well."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    songs: int = 0
    slowest_song_s: float = 0.0
    growth: int = 0

    def describe(self) -> str:
        """A few lines."""
        lines = [
            f"{self.cases} cases, {len(self.failures)} failures",
            f"outcomes: {dict(self.outcomes.most_common())}",
            f"mutations: {dict(self.mutations.most_common())}",
            f"well-behaved host: {self.songs} x (write + read), slowest {self.slowest_song_s * 1000:.0f} ms",
            f"memory: {self.growth / 1e6:+.1f} MB",
        ]
        return "\n".join([*lines, *self.failures])


class Fuzzer:
    """`seed` and a case's number make the case, whatever ran before it."""

    def __init__(self, target: RawTarget, seed: int, *, is_verbose: bool = False) -> None:
        self._target = target
        self._seed = seed
        self._is_verbose = is_verbose
        self._next = 0
        self.found = Findings()

    async def run(self, seconds: float) -> Findings:
        """As many cases as there is time for."""
        before, files = self._target.resident(), self._target.open_files()
        end = asyncio.get_running_loop().time() + seconds
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._work(end) for _ in range(WORKERS)))
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        if self._target.process.running:
            self.found.growth = self._target.resident() - before
            if self.found.growth > GROWTH_MAX:
                self.found.failures.append(f"memory grew by {self.found.growth >> 20} MiB")
            await self._expect_nothing_left(files)
        return self.found

    async def _expect_nothing_left(self, files: int) -> None:
        """Everybody has gone: so must their controllers and connections have."""

        async def gone() -> bool | None:
            left = await self._target.sessions(), self._target.open_files() - files
            return True if left[0] == 0 and left[1] <= 0 else None

        try:
            await wait_until(gone, "the end of all sessions", timeout_s=LEAVING_S)
        except TimedOutError:
            left = await self._target.sessions(), self._target.open_files() - files
            self.found.failures.append(f"left behind: {left[0]} controllers, {left[1]} open files")

    async def play(self, number: int) -> None:
        """One case: a session with one spoilt PDU, on a connection of its own."""
        chance = random.Random(f"{self._seed}:{number}")
        state = State(chance, digests=chance.choice((0, 0, 1, 2, 3)))
        plan: tuple[Step, ...] = ADMIN
        admin = None
        try:
            if chance.random() < 0.6:
                plan = IO
                admin, state.cntlid = await self._target.admin_queue()
                state.qid = 1
            peer = await self._target.open()
        except (NoAnswerError, OSError) as refused:
            self._fail(number, f"a well-behaved connection: {refused!r}")
            return
        try:
            outcome = await self._session(number, peer, plan, state)
            self.found.outcomes[outcome] += 1
        except NoAnswerError as wrong:
            self._fail(number, str(wrong))
        finally:
            peer.close()
            if admin is not None:
                admin.close()
        self.found.cases += 1

    async def _session(self, number: int, peer: RawPeer, plan: tuple[Step, ...], state: State) -> str:
        point = state.chance.randrange(len(plan))
        for step in plan[:point]:
            peer.send(step.make(state))
            await self._answer(peer, step, state)
        mutate = state.chance.choice(MUTATIONS)
        self.found.mutations[mutate.__name__] += 1
        pieces = mutate(state.chance, plan[point].make(state), lambda pdu: _encode(peer, pdu))
        if self._is_verbose:
            print(f"case {number}: step {point}, {mutate.__name__}: {[piece[:160].hex() for piece in pieces]}")
        for piece in pieces:
            peer.send(piece)
            await asyncio.sleep(0)
        for step in plan[point + 1 :]:  # what a host would say next, without a look at the answers
            peer.send(step.make(state))
        return await self._rest(peer)

    async def _answer(self, peer: RawPeer, step: Step, state: State) -> None:
        """What a valid step brings; raises NoAnswerError."""
        while step.answer:
            came = await peer.receive(STALL_S)
            if step.answer == "icresp":
                agreed = came.special[3]
                peer.hdgst, peer.ddgst = bool(agreed & 1), bool(agreed & 2)
                return
            if step.answer == "r2t" and came.kind == raw.R2T:
                state.ttag = came.r2t[0]
                return
            if came.kind == raw.C2H_TERM:
                raise NoAnswerError(f"a valid step was terminated: {came.termination}")
            if came.kind == raw.CAPSULE_RESP or came.flags & raw.SUCCESS:
                return

    async def _rest(self, peer: RawPeer) -> str:
        """Everything that still comes, looked at; how it ended."""
        last: Came | None = None
        while True:
            try:
                came = await peer.receive(QUIET_S)
            except NoAnswerError as end:
                if "digest" in str(end):
                    raise
                break
            if came.kind not in ANSWERS:
                raise NoAnswerError(f"a PDU of type {came.kind:#x} from a controller")
            last = came
        if last is not None and last.kind == raw.C2H_TERM:
            fes, _ = last.termination
            if not 1 <= fes <= 6 or len(last.data) > 128:
                raise NoAnswerError(f"a strange termination request: {last.header.hex()}")
            return f"terminated {fes}"
        return "closed" if peer.reader.at_eof() else "open"

    async def _work(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < end and self._target.process.running and not self.found.failures:
            number, self._next = self._next, self._next + 1
            await self.play(number)

    async def _watch(self) -> None:
        """The well-behaved host."""
        canary = await Canary.connect(self._target)
        try:
            while True:
                took = await canary.sing()
                self.found.songs += 1
                self.found.slowest_song_s = max(self.found.slowest_song_s, took)
                if took > CANARY_S:
                    self.found.failures.append(f"the well-behaved host waited {took:.1f} s")
                await asyncio.sleep(0.01)
        except (NoAnswerError, AssertionError) as wrong:
            self.found.failures.append(f"the well-behaved host, at case {self._next}: {wrong!r}")
        finally:
            canary.close()

    def _fail(self, number: int, what: str) -> None:
        self.found.failures.append(f"case {number} (--seed {self._seed} --case {number}): {what}")


def _encode(peer: RawPeer, pdu: raw.RawPdu) -> bytes:
    return pdu.encode(hdgst=peer.hdgst, ddgst=peer.ddgst, alignment=peer.alignment)


async def fuzz(seed: int, seconds: float, *, spdk_tgt: Path | None = None, case: int | None = None) -> Findings:
    """Starts a target, plays, ends it; what it says of itself counts too."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        target = await RawTarget(Path(folder), spdk_tgt=spdk_tgt).start()
        fuzzer = Fuzzer(target, seed, is_verbose=case is not None)
        try:
            if case is not None:
                await fuzzer.play(case)
                found = fuzzer.found
            else:
                found = await fuzzer.run(seconds)
            if not target.process.running:
                found.failures.append(f"the target is dead: {target.process.complain()}")
        finally:
            try:
                await target.stop()
            except RuntimeError as crashed:
                fuzzer.found.failures.append(str(crashed))
        said = target.process.log.read_text(errors="replace")
        if "Traceback" in said or '"level": "error"' in said:
            found.failures.append(f"the target logged an error: {said[max(0, said.find('Traceback') - 500) :][:3000]}")
        return found


def main() -> int:
    """Exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="play this one only, and show what is sent")
    parser.add_argument("--spdk-tgt", type=Path, help="a real spdk_tgt instead of the emulator")
    options = parser.parse_args()
    found = asyncio.run(fuzz(options.seed, options.seconds, spdk_tgt=options.spdk_tgt, case=options.case))
    print(found.describe())
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
