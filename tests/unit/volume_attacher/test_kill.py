"""`kill -9` of the real process at every OPI call, before and after the call had its effect; the retry converges."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from tests.unit.volume_attacher.lab import BOOT, DPU, volume

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.attacher.v1 import attacher_pb2 as pb
from dpucsi.api.attacher.v1 import attacher_pb2_grpc
from dpucsi.rpc import Endpoint, channel
from dpucsi.testing.fake_opi import FakeOpi
from dpucsi.testing.lab import listening
from dpucsi.testing.process import LabProcess

AnswerT = TypeVar("AnswerT")
UUID = str(volume(1))
# Get, create remote controller, create path, list remote namespaces, create namespace; exclusive: its function twice.
ATTACH_CALLS = {pb.PLACEMENT_SHARED: 5, pb.PLACEMENT_EXCLUSIVE: 7}
# Remove namespace, path, remote controller; exclusive: list namespaces, remove controller and subsystem.
DETACH_CALLS = {pb.PLACEMENT_SHARED: 3, pb.PLACEMENT_EXCLUSIVE: 6}


def points(calls: dict[pb.Placement.ValueType, int]) -> list[tuple[pb.Placement.ValueType, int, bool]]:
    return [(kind, call, after) for kind, n in calls.items() for call in range(1, n + 1) for after in (False, True)]


def request(placement: pb.Placement.ValueType) -> pb.AttachRequest:
    path = pb.TargetPath(trtype="TCP", adrfam="IPv4", traddr="192.0.2.1", trsvcid="4420")
    hostnqn = naming.hostnqn(DPU, "00000001")
    spec = pb.AttachSpec(uuid=UUID, subnqn=naming.subnqn(volume(1)), hostnqn=hostnqn, paths=[path])
    return pb.AttachRequest(spec=spec, placement=placement, boot_id=BOOT)


class Attacher:
    """The process, and a stub to it."""

    def __init__(self, folder: Path, fake: FakeOpi) -> None:
        self.fake = fake
        self.endpoint = f"unix://{folder}/attacher.sock"
        options = {
            "listen": self.endpoint,
            "opi": f"unix://{fake.path}",
            "state": f"{folder}/attacher.db",
            "dpu-uuid": str(DPU),
            "shared-functions": "port0-pf0=0000:3b:00.0",
            "exclusive-functions": "port0-pf0-vf1=0000:3b:00.1",
            "reconcile-period": "3600",
        }
        argv = [sys.executable, "-m", "volume_attacher", *(f"--{name}={value}" for name, value in options.items())]
        self.process = LabProcess("volume-attacher", argv, folder / "attacher.log")
        self.channel = channel(Endpoint.parse(self.endpoint))
        self.stub = attacher_pb2_grpc.AttacherServiceStub(self.channel)

    async def start(self) -> None:
        """Serving, and done with its first look."""
        before = len(self.fake.calls)
        self.process.start()

        async def looked() -> bool | None:
            assert self.process.running, self.process.complain()
            return (listening(self.endpoint) and "ListNvmeNamespaces" in self.fake.calls[before:]) or None

        if not self.fake.objects:
            await wait_until(self._function_ready, "the shared function", timeout_s=20)
        else:
            await wait_until(looked, "a first look", timeout_s=20)
        await self.channel.channel_ready()

    async def _function_ready(self) -> bool | None:
        assert self.process.running, self.process.complain()
        return bool(self.fake.names("nvmeControllers")) or None

    async def attach(self, placement: pb.Placement.ValueType) -> pb.Disk:
        return (await self.retried(lambda: self.stub.Attach(request(placement)))).disk

    async def detach(self) -> None:
        await self.retried(lambda: self.stub.Detach(pb.DetachRequest(uuid=UUID, boot_id=BOOT)))

    async def release(self) -> None:
        await self.retried(lambda: self.stub.Release(pb.ReleaseRequest(uuid=UUID, boot_id=BOOT)))

    async def listed(self) -> list[pb.Attachment]:
        return list((await self.stub.ListAttachments(pb.ListAttachmentsRequest())).attachments)

    async def retried(self, verb: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """As a CO retries."""

        async def unless_temporary() -> AnswerT | None:
            try:
                return await verb()
            except grpc.aio.AioRpcError as failed:
                if failed.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
                    raise
                return None

        return await wait_until(unless_temporary, "the retry", timeout_s=20)


@pytest.fixture
async def attacher(tmp_path: Path) -> AsyncIterator[Attacher]:
    fake = FakeOpi(tmp_path / "opi.sock")
    await fake.start()
    attacher = Attacher(tmp_path, fake)
    await attacher.start()
    yield attacher
    attacher.process.kill()
    await attacher.channel.close(None)
    await fake.stop()


@asynccontextmanager
async def killed_at(attacher: Attacher, call: int, after: bool) -> AsyncIterator[None]:
    """The process dies at the `call`-th OPI call of what is begun inside, and is started again."""
    held = attacher.fake.hold(ahead=call, after=after)
    yield
    await wait_until(lambda: _set(held.reached), f"call {call}", timeout_s=20)
    attacher.process.kill()
    held.go.set()
    await attacher.start()


async def _set(event) -> bool | None:
    return event.is_set() or None


@pytest.mark.parametrize(("placement", "call", "after"), points(ATTACH_CALLS))
async def test_attach(attacher: Attacher, placement: pb.Placement.ValueType, call: int, after: bool) -> None:
    before = dict(attacher.fake.objects)
    async with killed_at(attacher, call, after):
        begun = attacher.stub.Attach(request(placement))
    assert begun.done() or begun.cancel()
    disk = await attacher.attach(placement)
    assert disk.nsid == 1
    assert len(attacher.fake.names("nvmeNamespaces")) == 1
    assert [found.state for found in await attacher.listed()] == [pb.ATTACHMENT_STATE_ATTACHED]
    await attacher.detach()
    await attacher.release()
    assert attacher.fake.objects == before
    assert await attacher.listed() == []


@pytest.mark.parametrize(("placement", "call", "after"), points(DETACH_CALLS))
async def test_detach(attacher: Attacher, placement: pb.Placement.ValueType, call: int, after: bool) -> None:
    before = dict(attacher.fake.objects)
    disk = await attacher.attach(placement)
    async with killed_at(attacher, call, after):
        begun = attacher.stub.Detach(pb.DetachRequest(uuid=UUID, boot_id=BOOT))
    assert begun.done() or begun.cancel()
    await attacher.detach()
    assert attacher.fake.objects == before
    (left,) = await attacher.listed()
    assert (left.state, left.disk.nsid) == (pb.ATTACHMENT_STATE_UNCONFIRMED, disk.nsid)
    attacher.process.kill()
    await attacher.start()
    assert await attacher.listed() == [left]
    await attacher.release()
    attacher.process.kill()
    await attacher.start()
    assert await attacher.listed() == []
