"""What a fresh SPDK process is told before anything else: options of the initiator, transports of the target."""

import asyncio
from dataclasses import dataclass

import structlog

from dpucsi.aio import remaining
from dpucsi.errors import DpucsiError, UnavailableError
from dpucsi.spdk import Instance, SpdkClient, SpdkError
from dpucsi.spdk.nvme import bdev_nvme_set_options
from dpucsi.spdk.nvmf import nvmf_create_transport, nvmf_get_transports
from opi_bridge.views import Snapshot

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class InitiatorOptions:
    """Options of all remote controllers, see config.py."""

    bdev_retry_count: int
    transport_retry_count: int
    adminq_poll_period_us: int


class Preparation:
    """Knows which SPDK process is prepared; everybody who makes something in SPDK waits here for that.

    `wait_s`: for how long, in seconds; below the limit of an operation, or the limit cuts it off without a reason.
    """

    def __init__(
        self, client: SpdkClient, transports: tuple[str, ...], options: InitiatorOptions, wait_s: float
    ) -> None:
        self._client = client
        self._transports = transports
        self._options = options
        self._wait_s = wait_s
        self._prepared = asyncio.Event()
        self._problem = ""
        self.instance: Instance | None = None

    def is_current(self, instance: Instance | None) -> bool:
        """Whether `instance` is the prepared process that answers now."""
        return instance is not None and instance == self.instance == self._client.instance

    async def done(self) -> Instance:
        """The prepared process, waited for. Raises UnavailableError."""
        allowed = remaining(self._wait_s)
        try:
            async with asyncio.timeout(allowed):
                while self.instance is None or self.instance != self._client.instance:
                    self._prepared.clear()
                    await self._prepared.wait()
        except TimeoutError:
            raise UnavailableError(
                f"{self._client} could not be reached and prepared within {allowed:.1f} s"
                f"{self._problem and f' ({self._problem})'}; is SPDK running there, with what this DPU driver needs?"
            ) from None
        return self.instance

    async def prepare(self, instance: Instance, snapshot: Snapshot) -> None:
        """Tells `instance` what it lacks: one round, none where it lacks nothing."""
        if self.instance == instance:
            return
        missing = [trtype for trtype in self._transports if trtype.upper() not in snapshot.transports]
        steps = [self._ensure_transport(trtype) for trtype in missing]
        if not snapshot.remote_controllers:  # SPDK refuses options once there is one, and has them by then
            steps.append(self._set_options())
        try:
            await asyncio.gather(*steps)
        except DpucsiError as error:
            self._problem = str(error)
            raise
        self.instance, self._problem = instance, ""
        self._prepared.set()

    async def _ensure_transport(self, trtype: str) -> None:
        try:
            await nvmf_create_transport(self._client, trtype=trtype)
        except SpdkError:
            if trtype.upper() not in {found.upper() for found in await nvmf_get_transports(self._client)}:
                raise

    async def _set_options(self) -> None:
        try:
            await bdev_nvme_set_options(
                self._client,
                bdev_retry_count=self._options.bdev_retry_count,
                transport_retry_count=self._options.transport_retry_count,
                nvme_adminq_poll_period_us=self._options.adminq_poll_period_us,
            )
        except SpdkError as refused:  # only slower recovery and slower attaching: no reason to serve nothing
            log.warning("SPDK keeps its own options for remote controllers", error=str(refused))
