"""AttacherService over a real socket, with the blocking stubs of pytest-grpc."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import grpc
import pytest
from tests.unit.volume_attacher.lab import BOOT, DPU, EXCLUSIVE, FUNCTIONS, SHARED, volume
from tests.unit.wire import AioServerThread, create_channel, details

from dpucsi import naming
from dpucsi.aio import Operations
from dpucsi.api.attacher.v1 import attacher_pb2 as pb
from dpucsi.api.attacher.v1 import attacher_pb2_grpc
from dpucsi.opi import OpiClient
from dpucsi.rpc import Endpoint
from dpucsi.rpc.server import Service
from dpucsi.store import Records
from dpucsi.testing.fake_opi import FakeOpi
from volume_attacher.attacher import AttacherServicer
from volume_attacher.dpu import Dpu
from volume_attacher.reconcile import Reconciler
from volume_attacher.table import Table


@pytest.fixture
def fake(tmp_path: Path) -> FakeOpi:
    return FakeOpi(tmp_path / "opi.sock")


@pytest.fixture
def grpc_servicer() -> None:
    """Made on the server's own loop, see `grpc_server`."""


@pytest.fixture
def grpc_add_to_server():
    return attacher_pb2_grpc.add_AttacherServiceServicer_to_server


@pytest.fixture
def grpc_server(tmp_path: Path, fake: FakeOpi, grpc_add_to_server) -> Iterator[AioServerThread]:
    store = Records.open(tmp_path / "attacher.db")

    def services() -> list[Service]:
        dpu = Dpu(DPU, FUNCTIONS, OpiClient(Endpoint.parse(f"unix://{fake.path}")), Table(store))
        servicer = AttacherServicer(dpu, Operations(20.0), Reconciler(dpu, 30.0), ("TCP",))
        return [Service("dpucsi.attacher.v1.AttacherService", grpc_add_to_server, servicer)]

    with AioServerThread(tmp_path / "attacher.sock", services) as server:
        server.call(fake.start())
        yield server
        server.call(fake.stop())


@pytest.fixture
def grpc_create_channel(grpc_server: AioServerThread):
    return create_channel(grpc_server.target)


@pytest.fixture
def grpc_channel(grpc_create_channel) -> Iterator[grpc.Channel]:
    """pytest-grpc's own lives as long as the module; here every test has a service of its own."""
    with grpc_create_channel() as channel:
        yield channel


@pytest.fixture
def grpc_stub_cls():
    return attacher_pb2_grpc.AttacherServiceStub


def request(number: int = 1, placement: pb.Placement.ValueType = pb.PLACEMENT_UNSPECIFIED) -> pb.AttachRequest:
    uuid = volume(number)
    spec = pb.AttachSpec(
        uuid=str(uuid),
        subnqn=naming.subnqn(uuid),
        hostnqn=naming.hostnqn(DPU, "00000001"),
        paths=[pb.TargetPath(trtype="TCP", adrfam="IPv4", traddr="192.0.2.1", trsvcid="4420")],
        size_bytes=1 << 30,
    )
    return pb.AttachRequest(spec=spec, placement=placement, boot_id=BOOT)


@pytest.fixture
def grpc_stub(grpc_stub_cls, grpc_channel):
    return grpc_stub_cls(grpc_channel)


def test_one_volume_there_and_back(grpc_stub, fake: FakeOpi) -> None:
    disk = grpc_stub.Attach(request()).disk
    assert disk == pb.Disk(
        uuid=str(volume(1)),
        nguid=volume(1).hex,
        nsid=1,
        size_bytes=1 << 30,
        pci_address="0000:3b:00.0",
        function=str(SHARED),
    )
    (listed,) = grpc_stub.ListAttachments(pb.ListAttachmentsRequest(uuid=str(volume(1)))).attachments
    assert (listed.state, listed.spec, listed.disk, listed.boot_id) == (
        pb.ATTACHMENT_STATE_ATTACHED,
        request().spec,
        disk,
        BOOT,
    )
    asked = {"uuid": str(volume(1)), "boot_id": BOOT}
    assert grpc_stub.Detach(pb.DetachRequest(**asked)).disk == disk
    (listed,) = grpc_stub.ListAttachments(pb.ListAttachmentsRequest()).attachments
    assert listed.state == pb.ATTACHMENT_STATE_UNCONFIRMED
    grpc_stub.Release(pb.ReleaseRequest(**asked))
    assert not grpc_stub.Detach(pb.DetachRequest(**asked)).HasField("disk")
    assert not grpc_stub.ListAttachments(pb.ListAttachmentsRequest()).attachments
    assert fake.names("nvmeNamespaces") == fake.names("nvmeRemoteControllers") == []


def test_info_counts_slots(grpc_stub) -> None:
    def counted() -> tuple[int, int, int]:
        info = grpc_stub.GetInfo(pb.GetInfoRequest())
        assert list(info.transports) == ["TCP"]
        return info.max_attachments, info.free_attachments, info.free_exclusive

    assert counted() == (4, 5, 1)
    grpc_stub.Attach(request(1))
    assert grpc_stub.Attach(request(2, pb.PLACEMENT_EXCLUSIVE)).disk.function == str(EXCLUSIVE)
    assert counted() == (4, 3, 0)


def spec_with(**fields) -> pb.AttachRequest:
    changed = request()
    for name, value in fields.items():
        setattr(changed.spec, name, value)
    return changed


def path_with(**fields) -> pb.AttachRequest:
    changed = request()
    for name, value in fields.items():
        setattr(changed.spec.paths[0], name, value)
    return changed


def twice() -> pb.AttachRequest:
    changed = request()
    changed.spec.paths.append(copy.deepcopy(changed.spec.paths[0]))
    return changed


def without(field: Literal["spec", "boot_id"]) -> pb.AttachRequest:
    changed = request()
    changed.ClearField(field)
    return changed


def without_paths() -> pb.AttachRequest:
    changed = request()
    changed.spec.ClearField("paths")
    return changed


BAD = [
    ("Attach", without("spec"), "spec.uuid"),
    ("Attach", without("boot_id"), "boot_id"),
    ("Attach", without_paths(), "names no address"),
    ("Attach", twice(), "one twice"),
    ("Attach", request(placement=pb.Placement.ValueType(9)), "placement 9"),
    ("Attach", spec_with(uuid="abc"), "spec.uuid 'abc'"),
    ("Attach", spec_with(uuid=str(volume(1)).upper()), "lower case"),
    ("Attach", spec_with(uuid=str(volume(2))), "of another volume"),
    ("Attach", spec_with(subnqn="iqn.2024"), "spec.subnqn"),
    ("Attach", spec_with(hostnqn=""), "spec.hostnqn"),
    ("Attach", spec_with(size_bytes=-1), "size_bytes"),
    ("Attach", path_with(trtype="RDMA"), "not a transport of this DPU"),
    ("Attach", path_with(adrfam="IPv6"), "does not fit"),
    ("Attach", path_with(traddr="storage.example"), "not an IP address"),
    ("Attach", path_with(trsvcid="0"), "not a port"),
    ("Attach", path_with(trsvcid="٤٤٢٠"), "not a port"),
    ("Detach", pb.DetachRequest(boot_id=BOOT), "uuid ''"),
    ("Detach", pb.DetachRequest(uuid=str(volume(1))), "boot_id"),
    ("Detach", pb.DetachRequest(uuid=str(volume(1)), boot_id="a\nb"), "boot_id"),
    ("Release", pb.ReleaseRequest(uuid="x", boot_id=BOOT), "uuid 'x'"),
    ("Release", pb.ReleaseRequest(uuid=str(volume(1)), boot_id="b" * 100), "boot_id"),
    ("ListAttachments", pb.ListAttachmentsRequest(uuid="x"), "uuid 'x'"),
]


@pytest.mark.parametrize(("method", "asked", "says"), BAD)
def test_bad_input_is_named_and_changes_nothing(grpc_stub, fake: FakeOpi, method: str, asked, says: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(grpc_stub, method)(asked)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in details(refused.value)
    assert fake.calls == []
    assert not grpc_stub.ListAttachments(pb.ListAttachmentsRequest()).attachments


def test_a_message_of_8_mib(grpc_stub, fake: FakeOpi) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.Attach(spec_with(subnqn="n" * (8 << 20)))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert fake.calls == []


def test_a_second_call_for_the_same_volume_is_aborted(grpc_stub, grpc_server: AioServerThread, fake: FakeOpi) -> None:
    async def hold_next():
        return fake.hold(ahead=1)

    held = grpc_server.call(hold_next())
    first = grpc_stub.Attach.future(request())
    grpc_server.call(held.reached.wait())
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.Detach(pb.DetachRequest(uuid=str(volume(1)), boot_id=BOOT))
    assert refused.value.code() is grpc.StatusCode.ABORTED
    grpc_server._loop.call_soon_threadsafe(held.go.set)
    assert first.result(timeout=10).disk.nsid == 1


def test_an_attach_whose_caller_left_ends_all_the_same(grpc_stub, grpc_server: AioServerThread, fake: FakeOpi) -> None:
    async def hold_next():
        return fake.hold(ahead=3)

    held = grpc_server.call(hold_next())
    leaving = grpc_stub.Attach.future(request(), timeout=30)
    grpc_server.call(held.reached.wait())
    leaving.cancel()
    grpc_server._loop.call_soon_threadsafe(held.go.set)
    while True:
        try:
            assert grpc_stub.Attach(request()).disk.nsid == 1
            return
        except grpc.RpcError as busy:
            assert busy.code() is grpc.StatusCode.ABORTED
