"""One path of a remote controller: connects, notices the loss, tries again, fails over, gives up."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from dpucsi.nvme_tcp.host import AnaState, Dial, HostController, NamespaceIdentity
from dpucsi.nvme_tcp.status import NvmeError
from spdk_emulator.initiator.options import LossOptions, NvmeOptions
from spdk_emulator.initiator.spec import PathSpec
from spdk_emulator.nvmf.address import Address

log = structlog.get_logger(__name__)
CONNECT_TIMEOUT_S = 10.0  # SPDK's for the initialization of a connection
FAILED_RETRY_S = 0.25  # without a reconnect_delay SPDK tries at every look at the admin queue; so often is enough here

ENABLED, RESETTING, DELAYED, FAILED, DELETING = (
    *("enabled", "resetting", "reconnect_is_delayed", "failed", "deleting"),
)
_USABLE = (AnaState.OPTIMIZED, AnaState.NON_OPTIMIZED)
_PASSING = (AnaState.INACCESSIBLE, AnaState.CHANGE)


class NvmePath:
    """`on_change` is called when its state, its namespaces or their ANA states change, `on_gone` once: it is given up.

    `namespaces`: what it shows. One that the target does not show after a reconnect stays, out of use: it may come yet,
    and its bdev with what waits for it must not go meanwhile. One that goes in a live session is gone.
    """

    def __init__(
        self, spec: PathSpec, loss: LossOptions, options: NvmeOptions, is_cut: Callable[[Address], bool]
    ) -> None:
        self.spec = spec
        self._is_cut = is_cut  # a fault on request: nothing gets through to this address
        self.alternates: list[PathSpec] = []
        self.state = RESETTING
        self.controller: HostController | None = None  # the latest one, live or not: who it was stays known
        self.namespaces: dict[int, NamespaceIdentity] = {}
        self.is_io_failed = False  # fast_io_fail_timeout has passed
        self.on_change: Callable[[], None] = _nobody
        self.on_gone: Callable[[], object] = _nobody
        self._loss = loss
        self._options = options
        self._shown: set[int] = set()  # in this session
        self._lost_at = 0.0
        self._failed_at: dict[PathSpec, float] = {}
        self._is_ana_asked = False
        self._passing_since: dict[int, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retrying: asyncio.Task[None] | None = None

    @property
    def may_recover(self) -> bool:
        """Whether I/O should wait for it (nvme_ctrlr_is_failed)."""
        if self.is_io_failed:
            return False
        return self.state in (ENABLED, DELAYED) or (self.state == RESETTING and self._loss.reconnect_delay != 0)

    def live(self) -> HostController:
        """The controller, which `takes` I/O."""
        assert self.controller is not None
        return self.controller

    def takes(self, nsid: int) -> bool:
        """Whether I/O of a namespace may go this way now (nvme_io_path_is_available)."""
        controller = self.controller
        if self.state != ENABLED or controller is None or self._is_ana_asked:
            return False
        return nsid in controller.namespaces and controller.ana_state(nsid) in _USABLE

    def is_optimized(self, nsid: int) -> bool:
        """Whether it is to be preferred."""
        return self.controller is not None and self.controller.ana_state(nsid) == AnaState.OPTIMIZED

    def is_worth_waiting(self, nsid: int) -> bool:
        """Whether it may take I/O of a namespace later (any_io_path_may_become_available)."""
        since = self._passing_since.get(nsid)
        is_overdue = since is not None and asyncio.get_running_loop().time() >= since + self._ana_patience()
        return self.may_recover and not is_overdue

    async def connect(self) -> None:
        """One try; raises OSError or NvmeError.

        The first I/O opens a queue for it, as in SPDK the first user of the bdev does. Once there was one, it takes one
        more for a path to be back.
        """
        spec = self.spec
        is_used = self.controller is not None and self.controller.is_used
        seconds = self._options.tcp_connect_timeout_ms / 1000
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            controller = await HostController.connect(
                self._unless_cut(spec.dial(seconds or None), spec.address),
                subnqn=spec.subnqn,
                hostnqn=spec.hostnqn,
                hostid=spec.host_uuid,
                io_queues=1 if is_used else 0,
                kato_ms=self._options.keep_alive_timeout_ms,
                hdgst=spec.hdgst,
                ddgst=spec.ddgst,
                on_namespaces=self._changed,
                on_lost=self._lost,
            )
        if self._is_cut(spec.address):
            controller.abort()
            raise ConnectionRefusedError("cut meanwhile")
        self.controller = controller
        self.namespaces |= controller.namespaces
        self._shown = set(controller.namespaces)
        self._is_ana_asked = self.is_io_failed = False
        self._note_ana()
        self._enter(ENABLED)

    def drop_if_cut(self) -> None:
        """Loses its connection where it is cut."""
        if self.state == ENABLED and self.controller is not None and self._is_cut(self.spec.address):
            self.controller.abort()
            self._lost()

    def close(self) -> "asyncio.Task[None] | None":
        """Disconnects for good; the task takes leave of the controller."""
        self._stop_retrying()
        leaving = self.controller if self.state == ENABLED else None
        self._enter(DELETING)
        return self._start(leaving.disconnect()) if leaving is not None else None

    def abort(self) -> None:
        """Closes at once and for good, without a word to anybody."""
        self.state = DELETING
        self._stop_retrying()
        if self.controller is not None:
            self.controller.abort()

    def refresh_ana(self) -> None:
        """The controller refused I/O for an ANA state: nothing more goes there until we know it."""
        if self.controller is not None and not self._is_ana_asked:
            self._is_ana_asked = True
            self._start(self._read_ana(self.controller))

    def fail_over(self) -> None:
        """Leaves where it is for its next alternate, and forgets where it was."""
        leaving = self.controller if self.state == ENABLED else None
        self._stop_retrying()
        self.spec = self.alternates.pop(0)
        if leaving is not None:
            self._start(leaving.disconnect())
            self._lost_at = asyncio.get_running_loop().time()
        self._recover()

    def _unless_cut(self, dial: Dial, address: Address) -> Dial:
        async def connect(
            factory: Callable[[], asyncio.Protocol],
        ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
            if self._is_cut(address):
                raise ConnectionRefusedError("cut")
            return await dial(factory)

        return connect

    def _changed(self) -> None:
        """The controller told of namespaces or ANA states."""
        controller = self.controller
        if controller is None or self.state != ENABLED:
            return
        for nsid in self._shown - controller.namespaces.keys():
            self.namespaces.pop(nsid, None)
        self.namespaces |= controller.namespaces
        self._shown = set(controller.namespaces)
        self._note_ana()
        self.on_change()

    def _lost(self) -> None:
        if self.state == DELETING:
            return
        log.info("path lost", subnqn=self.spec.subnqn, traddr=self.spec.address.traddr)
        self._lost_at = self._failed_at[self.spec] = asyncio.get_running_loop().time()
        if self.alternates:
            self._next_spec()
        self._recover()

    def _recover(self) -> None:
        self._retrying = self._start(self._retry())
        self._enter(RESETTING)

    async def _retry(self) -> None:
        """The first try comes at once, the next ones after the delay, until the time for it is over."""
        loop = asyncio.get_running_loop()
        while not await self._try():
            self._failed_at[self.spec] = loop.time()
            if self._loss.reconnect_delay and self._has_fresh_alternate():
                continue
            lost_s = loop.time() - self._lost_at
            self.is_io_failed = self.is_io_failed or self._loss.fails_io(lost_s)
            if self._loss.is_given_up(lost_s):
                log.info("path given up", subnqn=self.spec.subnqn, traddr=self.spec.address.traddr)
                self._enter(DELETING)
                self.on_gone()
                return
            self._enter(DELAYED if self._loss.reconnect_delay else FAILED)
            await asyncio.sleep(self._loss.reconnect_delay or FAILED_RETRY_S)
            if self._loss.reconnect_delay:
                self._enter(RESETTING)
            elif self.alternates:
                self._next_spec()

    async def _try(self) -> bool:
        """A try ends with the time for it, as in SPDK (bdev_nvme_reconnect_ctrlr_poll)."""
        lost_s = asyncio.get_running_loop().time() - self._lost_at
        try:
            async with asyncio.timeout(self._loss.time_left(lost_s)):
                await self.connect()
        except (OSError, NvmeError) as reason:
            log.debug("not reconnected", subnqn=self.spec.subnqn, reason=str(reason))
            return False
        self._failed_at.pop(self.spec, None)
        log.info("path is back", subnqn=self.spec.subnqn, traddr=self.spec.address.traddr)
        return True

    def _has_fresh_alternate(self) -> bool:
        """Turns to the next alternate; whether it is to be tried at once (bdev_nvme_failover_trid)."""
        if not self.alternates:
            return False
        self._next_spec()
        failed_at = self._failed_at.get(self.spec)
        now = asyncio.get_running_loop().time()
        return failed_at is None or now > failed_at + self._loss.reconnect_delay

    def _next_spec(self) -> None:
        self.alternates.append(self.spec)
        self.spec = self.alternates.pop(0)

    async def _read_ana(self, controller: HostController) -> None:
        try:
            await controller.read_ana()
        except (OSError, NvmeError, ValueError) as reason:  # a lost one is looked at again when it is back
            log.debug("ANA states not read", subnqn=self.spec.subnqn, reason=str(reason))
        if controller is self.controller:
            self._is_ana_asked = False
            self._note_ana()
            self.on_change()

    def _note_ana(self) -> None:
        """Since when a namespace is in a state that should pass; whoever waits for it is told when it should have."""
        assert self.controller is not None
        loop = asyncio.get_running_loop()
        passing = {nsid for nsid in self.namespaces if self.controller.ana_state(nsid) in _PASSING}
        passing &= self.controller.namespaces.keys()
        new = passing - self._passing_since.keys()
        self._passing_since = {nsid: self._passing_since.get(nsid, loop.time()) for nsid in passing}
        if new:
            loop.call_later(self._ana_patience(), self._tell)

    def _ana_patience(self) -> float:
        """Seconds that an ANA transition may take."""
        return float(self.controller.identity.anatt) if self.controller is not None else 0.0

    def _tell(self) -> None:
        if self.state != DELETING:
            self.on_change()

    def _enter(self, state: str) -> None:
        self.state = state
        self.on_change()

    def _stop_retrying(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()

    def _start(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _nobody() -> None:
    """Called before somebody listens."""
