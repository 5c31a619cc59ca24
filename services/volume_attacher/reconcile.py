"""Reconciliation: what the OPI server has is driven to what the records want; level-triggered, never by guessing."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import grpc
import structlog

from dpucsi.aio import limit
from dpucsi.errors import DpucsiError
from volume_attacher.attach import bring_up
from volume_attacher.detach import take_down
from volume_attacher.dpu import Dpu
from volume_attacher.observe import observe
from volume_attacher.plan import Observed, Step, plan
from volume_attacher.record import Record

log = structlog.get_logger(__name__)
IN_FLIGHT = 100  # more does not make SPDK faster, and from about 500 it runs out of memory
FIRST_RETRY_S = 0.5
ONE_S = 60.0  # for one attachment


class Reconciler:
    """Looks at the start, when the OPI server comes back, and every `period_s`; sooner again after a failure."""

    def __init__(self, dpu: Dpu, period_s: float) -> None:
        self._dpu = dpu
        self._period_s = period_s
        self._wake = asyncio.Event()
        self._held: set[UUID] = set()
        self._driving: dict[UUID, asyncio.Task[bool]] = {}
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    @asynccontextmanager
    async def hold(self, uuid: UUID) -> AsyncIterator[None]:
        """A caller's operation on `uuid` goes first: what the reconciler does about it is cut off, and not begun."""
        self._held.add(uuid)
        try:
            task = self._driving.get(uuid)
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            yield
        finally:
            self._held.discard(uuid)

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                self._wake.clear()
                failures = 0 if await self._once_unbroken() else failures + 1
                await self._pause(failures)
        finally:
            watch.cancel()

    async def _once_unbroken(self) -> bool:
        try:
            return await self.once()
        except Exception as bug:  # reconciliation must outlive a bug in it, and the log must show it
            log.error("bug", exc_info=bug)
            return False

    async def once(self) -> bool:
        """One look, and what follows from it; False when something of it failed."""
        try:
            with limit(ONE_S):
                observed = await observe(self._dpu)
                await asyncio.gather(*(self._dpu.ensure_function(each) for each in self._dpu.functions.shared))
        except DpucsiError as error:
            log.warning("cannot reconcile, will try again", error=str(error))
            return False
        outcomes = await asyncio.gather(*(self._start(record, observed) for record in self._dpu.table.all()))
        return all(outcomes)

    async def _start(self, record: Record, observed: Observed) -> bool:
        uuid = record.spec.uuid
        step = plan(record, observed, uuid in self._dpu.paths_missing)
        if step is Step.NOTHING:
            return True
        async with self._in_flight:
            if uuid in self._held:
                return True
            task = self._driving[uuid] = asyncio.create_task(self._drive(uuid, step))
            try:
                await asyncio.wait([task])
            finally:
                task.cancel()
                del self._driving[uuid]
        return not task.cancelled() and task.result() and uuid not in self._dpu.paths_missing

    async def _drive(self, uuid: UUID, step: Step) -> bool:
        record = self._dpu.table.get(uuid)
        if record is None:
            return True
        log.info("reconciling", volume=str(uuid), state=record.state, step=step.name)
        try:
            with limit(ONE_S):
                if step is Step.BRING_UP:
                    await bring_up(self._dpu, record)
                else:
                    await take_down(self._dpu, record)
                    await self._dpu.table.note_detached(uuid)
        except DpucsiError as error:
            log.warning("not reconciled, will try again", volume=str(uuid), error=str(error))
            return False
        return True

    async def _pause(self, failures: int) -> None:
        """Until the period is over or something wakes us; after failures less, with jitter, so that DPUs spread out."""
        longest = min(self._period_s, FIRST_RETRY_S * 2 ** min(failures, 10)) if failures else self._period_s
        try:
            await asyncio.wait_for(self._wake.wait(), random.uniform(longest / 2, longest))  # noqa: S311  # no secret
        except TimeoutError:
            return

    async def _watch(self) -> None:
        """Wakes the reconciler when the OPI server is back; it may be a new one that knows nothing."""
        channel = self._dpu.opi.channel
        state = channel.get_state(try_to_connect=True)
        was_away = False
        while True:
            if state is grpc.ChannelConnectivity.READY and was_away:
                log.info("the OPI server is back")
                self._dpu.forget_functions()
                self._wake.set()
            was_away = state is not grpc.ChannelConnectivity.READY
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
