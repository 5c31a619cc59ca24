"""One export that is being brought back while its volume is detached, cut at every step of the former.

`Story.run(point, detach)` restores the export with everything real but the storage, and begins `detach` at the named
step. The storage's allow-list is watched all the time: `allowed` says what it held at every change.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from csi_controller.access import is_of_dpu
from csi_controller.restore import Export, Restorer
from dpucsi import naming
from dpucsi.aio import Operations
from dpucsi.backends import SizeRange, Volume
from dpucsi.csi import publish_context
from dpucsi.errors import BusyError, DpucsiError, UnavailableError
from dpucsi.k8s import Cluster, LeaseLeadership, attacher_lease
from dpucsi.model import AttachSpec
from dpucsi.testing.fake_backend import FakeBackend
from dpucsi.testing.fake_kube import ATTACHMENTS, LEASES, VOLUMES, FakeKube, attachment, volume

DRIVER = "csi.dpucsi.io"
LEASE = attacher_lease(DRIVER)
ME = "dpucsi-controller-0"
NAME = "csi-0123"
# Each await of a restore, in order; "answered" is when the far side has done it and we do not know yet.
POINTS = (
    "start",
    "lease asked",
    "lease answered",
    "attachment asked",
    "attachment answered",
    "grant asked",
    "grant answered",
    "attachment asked again",
    "attachment answered again",
    "end",
)


class WatchedBackend(FakeBackend):
    """Tells of each step, and remembers every allow-list that it ever had."""

    def __init__(self, step: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self.step = step
        self.allowed: list[tuple[str, ...]] = []

    async def grant(self, uuid: UUID, choose: Callable[[Volume], str]) -> AttachSpec:
        """As the storage does it: for sure when it is asked, known when the answer is there."""
        await self.step("grant asked")
        spec = await super().grant(uuid, choose)
        self.note(uuid)
        await self.step("grant answered")
        return spec

    async def revoke(self, uuid: UUID, whose: Callable[[str], bool]) -> None:
        await super().revoke(uuid, whose)
        self.note(uuid)

    def note(self, uuid: UUID) -> None:
        self.allowed.append(self.volumes[uuid].hosts)


class Story:
    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.api = kube.connect()
        self.backend = WatchedBackend(self._reached)
        self.operations = Operations(limit_s=20.0)
        self.cluster = Cluster(self.api, DRIVER)
        self.leadership = LeaseLeadership(self.api, "default", LEASE, ME)
        self.restorer = self.new_restorer()
        self.dpu = uuid4()
        self.hostnqn = naming.hostnqn(self.dpu, naming.new_generation())
        self.volume_id = naming.VolumeId("pool-a", uuid4())
        self.export = Export(NAME, self.volume_id, shared=False)
        self.at: dict[str, Callable[[], Awaitable[None]]] = {}
        self.reached: list[str] = []
        self.running: list[asyncio.Task[None]] = []
        self.tried = asyncio.Event()  # the first ControllerUnpublishVolume was answered
        kube.faults = self._asked
        kube.on_answer = self._answered

    def new_restorer(self) -> Restorer:
        """As a new process has one."""
        return Restorer(self.cluster, self.leadership, {"pool-a": self.backend}, self.operations)

    async def prepare(self, holder: str = ME) -> None:
        """The volume is attached, and its storage node has just forgotten that."""
        uuid = self.volume_id.uuid
        await self.backend.create(uuid, SizeRange(1 << 26), {})
        spec = AttachSpec(uuid, naming.subnqn(uuid), self.hostnqn, self.backend.paths, 1 << 26)
        await self.kube.put(VOLUMES, "pv-1", **volume(str(self.volume_id)))
        await self.kube.put(ATTACHMENTS, NAME, **attachment("pv-1", "host-a", publish_context.encode(spec)))
        await self.hold_lease(holder)

    async def hold_lease(self, holder: str, age_s: float = 0.0) -> None:
        renewed = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat()
        spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}
        await self.kube.put(LEASES, LEASE, spec=spec)

    async def run(self, point: str, act: Callable[[], Awaitable[None]]) -> None:
        """Restores, as often as the keeper would, with `act` done at `point`; returns when both are over."""
        self.at[point] = act
        await self._reached("start")
        await self.settle()
        await self._reached("end")
        await asyncio.gather(*self.running)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(50):
            try:
                await self.restorer.restore(self.export)
                return
            except DpucsiError:
                await asyncio.sleep(0.01)
        raise AssertionError("it is never settled")

    # What Kubernetes and the external-attacher do to take a volume away:

    async def begin_detach(self) -> None:
        """The attacher of this pod begins, and goes on beside the restore, whose lock it may have to wait for."""
        await self._mark_deleted()
        self.running.append(asyncio.create_task(self._unpublish()))
        await self.tried.wait()

    async def detach_at_once(self) -> None:
        """All of it, before the restore takes its next step."""
        await self.begin_detach()
        await self.running[-1]

    async def detach_elsewhere(self) -> None:
        """By another replica, whose lock is not ours: it took the Lease while this process stood still."""
        await self.hold_lease("dpucsi-controller-1")
        await self._mark_deleted()
        await self.backend.revoke(self.volume_id.uuid, is_of_dpu(naming.NodeId("host-a", self.dpu)))
        await self.kube.delete(ATTACHMENTS, NAME)

    async def delete_by_force(self) -> None:
        """Somebody took the finalizers away: no unpublish ever comes."""
        await self.kube.delete(ATTACHMENTS, NAME)

    async def _mark_deleted(self) -> None:
        await self.kube.change(ATTACHMENTS, NAME, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})

    async def _unpublish(self) -> None:
        """ControllerUnpublishVolume, tried again while it is ABORTED; then the VolumeAttachment may go."""
        whose = is_of_dpu(naming.NodeId("host-a", self.dpu))
        while True:
            try:
                await self.operations.run(
                    str(self.volume_id),
                    "ControllerUnpublishVolume",
                    lambda: self.backend.revoke(self.volume_id.uuid, whose),
                )
                break
            except BusyError:
                self.tried.set()
                await asyncio.sleep(0.005)
        self.backend.allowed.append(("fenced",))
        self.tried.set()
        await self.kube.delete(ATTACHMENTS, NAME)

    # Where the restore is:

    async def _asked(self, path: str) -> None:
        await self._reached(f"{self._subject(path)} asked")

    async def _answered(self, path: str) -> None:
        await self._reached(f"{self._subject(path)} answered")

    def _subject(self, path: str) -> str:
        return "lease" if path.startswith(LEASES) else "attachment"

    async def _reached(self, point: str) -> None:
        if point in self.reached and point.startswith("attachment"):
            point = f"{point} again"
        if point in self.reached:
            return
        self.reached.append(point)
        act = self.at.pop(point, None)
        if act is not None:
            await act()

    # What must hold:

    def check_fence(self) -> None:
        """Once the unpublish has returned the host NQN is never allowed again, not for a moment."""
        assert ("fenced",) in self.backend.allowed, "the detach was not carried out"
        after = self.backend.allowed[self.backend.allowed.index(("fenced",)) :]
        assert not any(self.hostnqn in hosts for hosts in after), f"{self.hostnqn} was allowed after its fence: {after}"

    def check_end(self) -> None:
        """Nobody is left who may connect."""
        assert self.backend.volumes[self.volume_id.uuid].hosts == ()


def unavailable(what: str) -> Callable[[], Awaitable[None]]:
    """A step that fails with its outcome unknown."""

    async def fail() -> None:
        raise UnavailableError(f"{what}: the connection was lost")

    return fail
