"""One path of a remote controller: connects, notices the loss, tries again, gives up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from spdk_emulator.fabric.host_session import HostSession, open_session
from spdk_emulator.fabric.messages import Accepted, Connect, NamespaceInfo, RefusedError
from spdk_emulator.initiator.options import LossOptions
from spdk_emulator.nvmf.address import Address
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)
CONNECT_TIMEOUT_S = 10.0

ENABLED, RESETTING, DELAYED, FAILED, DELETING = (
    *("enabled", "resetting", "reconnect_is_delayed", "failed", "deleting"),
)


@dataclass(frozen=True)
class PathSpec:
    """Where a path leads and who we are on it."""

    address: Address
    subnqn: str
    hostnqn: str
    hostid: str
    hostaddr: str = ""
    hostsvcid: str = ""

    def matches(self, wanted: dict[str, str | None]) -> bool:
        """Whether every named member is this path's."""
        mine = {
            "trtype": self.address.trtype.lower(),
            "adrfam": self.address.adrfam.lower(),
            "traddr": self.address.traddr,
            "trsvcid": self.address.trsvcid,
            "subnqn": self.subnqn,
            "hostaddr": self.hostaddr,
            "hostsvcid": self.hostsvcid,
        }
        folded = {name: text.lower() if name in ("trtype", "adrfam") else text for name, text in wanted.items() if text}
        return all(mine[name] == text for name, text in folded.items())


class NvmePath:
    """`on_change` is called when its namespaces change, `on_gone` once, when it is given up."""

    def __init__(self, spec: PathSpec, loss: LossOptions) -> None:
        self.spec = spec
        self.alternates: list[PathSpec] = []
        self.state = RESETTING
        self.accepted: Accepted | None = None
        self.namespaces: dict[int, NamespaceInfo] = {}
        self.on_change: Callable[[], None] = _nobody
        self.on_gone: Callable[[], None] = _nobody
        self._loss = loss
        self._session: HostSession | None = None
        self._retrying: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """One try; raises OSError or RefusedError."""
        local = (self.spec.hostaddr, int(self.spec.hostsvcid or 0)) if self.spec.hostaddr else None
        where = self.spec.address
        connect = Connect(self.spec.subnqn, self.spec.hostnqn, self.spec.hostid)
        try:
            port = int(where.trsvcid)
        except ValueError as wrong:
            raise ConnectionError(f"port {where.trsvcid!r}") from wrong
        self._session, self.accepted = await open_session(
            (where.traddr, port),
            local,
            connect,
            on_change=self._changed,
            on_lost=self._lost,
            timeout_s=CONNECT_TIMEOUT_S,
        )
        self.state = ENABLED
        self._changed(self.accepted.namespaces)

    def close(self) -> None:
        """Disconnects for good."""
        self.state = DELETING
        if self._retrying is not None:
            self._retrying.cancel()
        if self._session is not None:
            self._session.close()

    def describe(self) -> dict[str, Json]:
        """As in bdev_nvme_get_controllers."""
        shown: dict[str, Json] = {"state": self.state, "trid": self.trid(self.spec)}
        if self.alternates:
            shown["alternate_trids"] = [self.trid(spec) for spec in self.alternates]
        return shown | {
            "cntlid": self.accepted.cntlid if self.accepted else 0,
            "host": {
                "nqn": self.spec.hostnqn,
                "addr": self.spec.hostaddr,
                "svcid": self.spec.hostsvcid,
                "no_shn_notification": False,
            },
        }

    def describe_for_bdev(self, nsid: int) -> dict[str, Json]:
        """As in the driver_specific part of a bdev."""
        accepted = self.accepted
        ana = accepted is not None and accepted.ana_reporting
        ns_data: dict[str, Json] = {"id": nsid, "ana_state": "optimized"} if ana else {"id": nsid}
        return {
            "trid": self.trid(self.spec),
            "ctrlr_data": {
                "cntlid": accepted.cntlid if accepted else 0,
                "vendor_id": "0x8086",
                "model_number": accepted.model_number if accepted else "",
                "serial_number": accepted.serial_number if accepted else "",
                "firmware_revision": "26.09",
                "subnqn": self.spec.subnqn,
                "oacs": {"security": 0, "format": 0, "firmware": 0, "ns_manage": 0},
                "multi_ctrlr": True,
                "ana_reporting": ana,
            },
            "vs": {"nvme_version": "2.0"},
            "ns_data": ns_data | {"can_share": True},
        }

    @staticmethod
    def trid(spec: PathSpec) -> dict[str, Json]:
        """As SPDK shows where a path leads."""
        return spec.address.describe() | {"subnqn": spec.subnqn}

    def _changed(self, namespaces: list[NamespaceInfo]) -> None:
        self.namespaces = {info.nsid: info for info in namespaces}
        self.on_change()

    def _lost(self) -> None:
        if self.state == DELETING:
            return
        log.info("path lost", subnqn=self.spec.subnqn, traddr=self.spec.address.traddr)
        self._session = None
        self.state = RESETTING
        self._retrying = asyncio.get_running_loop().create_task(self._retry())

    async def _retry(self) -> None:
        """The first try comes at once, the next ones after the delay, until the time for it is over."""
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        while not await self._try():
            if not self._loss.reconnect_delay:
                self.state = FAILED
                return
            left = self._time_left(loop.time() - lost_at)
            self.state = DELAYED
            await asyncio.sleep(min(self._loss.reconnect_delay, max(left, 0.0)))
            if self._time_left(loop.time() - lost_at) <= 0:
                log.info("path given up", subnqn=self.spec.subnqn, traddr=self.spec.address.traddr)
                self.state = DELETING
                self.on_gone()
                return
            self.state = RESETTING
            if self.alternates:
                self.alternates.append(self.spec)
                self.spec = self.alternates.pop(0)

    async def _try(self) -> bool:
        try:
            await self.connect()
        except (OSError, RefusedError) as reason:
            log.debug("not reconnected", subnqn=self.spec.subnqn, reason=str(reason))
            return False
        log.info("path is back", subnqn=self.spec.subnqn, traddr=self.spec.address.traddr)
        return True

    def _time_left(self, passed: float) -> float:
        return float("inf") if self._loss.ctrlr_loss_timeout < 0 else self._loss.ctrlr_loss_timeout - passed


def _nobody(*_: Any) -> None:
    """Called before somebody listens."""
