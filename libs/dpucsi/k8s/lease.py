"""Whether the external-attacher beside us is the one that attaches and detaches now.

Its leader election keeps a Lease (csi-lib-utils, leaderelection): named after the driver, held under the host name of
its pod, which is ours too. Whoever holds it is the only one whose ControllerUnpublishVolume can come, and it comes to
the csi-controller in the same pod.
"""

import asyncio
import re
from datetime import UTC, datetime
from typing import Protocol

import structlog

from dpucsi.errors import DpucsiError, NotFoundError
from dpucsi.k8s.api import Json, KubeApi

POLL_S = 5.0  # the attacher's own retry period
FRESH_S = 1.0  # a Lease read so long ago is read again
MARGIN_S = 2.0  # this much before the Lease could be somebody else's it does not count any more

log = structlog.get_logger(__name__)


class Leadership(Protocol):
    """Whether this replica is the one that may change what the attacher decides about."""

    async def validity(self) -> float:
        """For how many seconds nobody else can be it; 0: it is not this one. Raises any DpucsiError."""
        ...

    async def new_term(self, other_than: int = 0) -> int:
        """Returns when it is this replica in a term that is not `other_than`; terms count from 1."""
        ...


class SoleLeadership:
    """There is one replica, and its external-attacher runs without leader election."""

    async def validity(self) -> float:
        """A long time."""
        return 3600.0

    async def new_term(self, other_than: int = 0) -> int:
        """The one term."""
        if other_than:
            await asyncio.Event().wait()
        return 1


class LeaseLeadership:
    """Holder of the Lease `name` in `namespace` is whoever calls itself `identity` there.

    The holder's renewal is stamped with its clock, which is this machine's; no other replica takes the Lease over
    before its duration has passed since then (client-go, leaderelection.tryAcquireOrRenew).
    """

    def __init__(self, api: KubeApi, namespace: str, name: str, identity: str) -> None:
        self._api = api
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        self._identity = lease_name(identity)
        self._term = 0
        self._held_until = 0.0  # loop time; 0: not held
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def validity(self) -> float:
        """See Leadership. The Lease is read when it was not read within the last second."""
        loop = asyncio.get_running_loop()
        async with self._reading:
            if loop.time() - self._read_at > FRESH_S:
                await self._read()
        return max(0.0, self._held_until - loop.time())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        try:
            left = seconds_left(await self._api.get(self._path), self._identity, datetime.now(UTC))
        except NotFoundError:
            left = 0.0
        held = self._held_until > asked_at
        if left and not held:
            self._term += 1
            log.info(
                "the external-attacher beside this csi-controller leads", identity=self._identity, lease=self._path
            )
        if not left and self._held_until:
            log.info("the external-attacher beside this csi-controller does not lead any more", lease=self._path)
        self._held_until = asked_at + left if left else 0.0
        self._read_at = asked_at

    async def new_term(self, other_than: int = 0) -> int:
        """See Leadership."""
        trouble = ""
        while True:
            try:
                if await self.validity() and self._term != other_than:
                    return self._term
                trouble = ""
            except DpucsiError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    log.warning("the external-attacher's Lease cannot be read; trying again", error=trouble)
            await asyncio.sleep(POLL_S)


def attacher_lease(driver: str) -> str:
    """The name of the Lease of `driver`'s external-attacher (v4: cmd/csi-attacher/main.go)."""
    return lease_name(f"external-attacher-leader-{driver}")


def lease_name(text: str) -> str:
    """As csi-lib-utils makes names: what is neither a letter nor a digit becomes '-', and none ends with one."""
    name = re.sub(r"[^a-zA-Z0-9-]", "-", text)
    return f"{name}X" if name.endswith("-") else name


def seconds_left(lease: Json, identity: str, now: datetime) -> float:
    """How long `identity` holds the Lease for sure; 0 where it does not."""
    spec = lease.get("spec") or {}
    renewed = spec.get("renewTime")
    if spec.get("holderIdentity") != identity or not renewed:
        return 0.0
    age = (now - datetime.fromisoformat(renewed)).total_seconds()
    return max(0.0, float(spec.get("leaseDurationSeconds") or 0) - MARGIN_S - max(0.0, age))
