"""NodeService over a real socket, with the blocking stubs of pytest-grpc; behind it a scripted attacher."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import grpc
import pytest
from tests.unit.wire import AioServerThread, create_channel, details

from csi_node_dpu.node import NodeServicer
from dpucsi import errors, naming
from dpucsi.api.attacher.v1 import attacher_pb2, attacher_pb2_grpc
from dpucsi.api.node.v1 import node_pb2 as pb
from dpucsi.api.node.v1 import node_pb2_grpc
from dpucsi.csi.publish_context import encode
from dpucsi.model import AttachSpec, TargetPath
from dpucsi.rpc import Endpoint, channel
from dpucsi.rpc.server import Service

DPU = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
OTHER = UUID("6ba7b814-9dad-41d1-80b4-00c04fd430c8")
VOLUME = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
VOLUME_ID = f"pool-a/{VOLUME}"
SPEC = AttachSpec(
    VOLUME, naming.subnqn(VOLUME), naming.hostnqn(DPU, "00000001"), (TargetPath("192.0.2.1", "4420"),), 1 << 30
)
DISK = attacher_pb2.Disk(uuid=str(VOLUME), nsid=3, pci_address="0000:3b:00.0", function="port0-pf0")

AnswerT = TypeVar("AnswerT")


class Attacher(attacher_pb2_grpc.AttacherServiceServicer):
    """Remembers what it was asked; raises `error`, or answers as if all were well."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.error: errors.DpucsiError | None = None
        self.disk: attacher_pb2.Disk | None = DISK

    def answer(self, request: Any, answer: AnswerT) -> AnswerT:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return answer

    async def GetInfo(self, request: Any, context: Any) -> attacher_pb2.GetInfoResponse:
        return self.answer(
            request,
            attacher_pb2.GetInfoResponse(max_attachments=34, free_attachments=20, free_exclusive=1, transports=["TCP"]),
        )

    async def Attach(self, request: Any, context: Any) -> attacher_pb2.AttachResponse:
        return self.answer(request, attacher_pb2.AttachResponse(disk=self.disk))

    async def Detach(self, request: Any, context: Any) -> attacher_pb2.DetachResponse:
        return self.answer(request, attacher_pb2.DetachResponse(disk=self.disk))

    async def Release(self, request: Any, context: Any) -> attacher_pb2.ReleaseResponse:
        return self.answer(request, attacher_pb2.ReleaseResponse())

    async def ListAttachments(self, request: Any, context: Any) -> attacher_pb2.ListAttachmentsResponse:
        return self.answer(
            request, attacher_pb2.ListAttachmentsResponse(attachments=[attacher_pb2.Attachment(disk=DISK)])
        )


@pytest.fixture
def attacher() -> Attacher:
    return Attacher()


@pytest.fixture
def grpc_servicer() -> None:
    """Made on the server's own loop, see `grpc_server`."""


@pytest.fixture
def grpc_add_to_server():
    return node_pb2_grpc.add_NodeServiceServicer_to_server


@pytest.fixture
def attacher_server(tmp_path: Path, attacher: Attacher) -> Iterator[AioServerThread]:
    add = attacher_pb2_grpc.add_AttacherServiceServicer_to_server
    service = Service("dpucsi.attacher.v1.AttacherService", add, attacher)
    with AioServerThread(tmp_path / "attacher.sock", lambda: [service]) as server:
        yield server


@pytest.fixture
def grpc_server(tmp_path: Path, attacher_server: AioServerThread, grpc_add_to_server) -> Iterator[AioServerThread]:
    def services() -> list[Service]:
        stub = attacher_pb2_grpc.AttacherServiceStub(channel(Endpoint(tmp_path / "attacher.sock")))
        return [Service("dpucsi.node.v1.NodeService", grpc_add_to_server, NodeServicer(DPU, stub, 20.0))]

    with AioServerThread(tmp_path / "node.sock", services) as server:
        yield server


@pytest.fixture
def grpc_create_channel(grpc_server: AioServerThread):
    return create_channel(grpc_server.target)


@pytest.fixture
def grpc_channel(grpc_create_channel) -> Iterator[grpc.Channel]:
    """pytest-grpc's own lives as long as the module; here every test has a service of its own."""
    with grpc_create_channel() as channel:
        yield channel


@pytest.fixture
def grpc_stub(grpc_channel):
    return node_pb2_grpc.NodeServiceStub(grpc_channel)


def attach(volume_id: str = VOLUME_ID, drop: str = "", **changed: str) -> pb.AttachRequest:
    context = {**encode(SPEC), **changed}
    context.pop(drop, None)
    return pb.AttachRequest(
        volume_id=volume_id, publish_context=context, placement=attacher_pb2.PLACEMENT_EXCLUSIVE, boot_id="boot"
    )


def test_attach_hands_on_a_neutral_spec(grpc_stub, attacher: Attacher) -> None:
    assert grpc_stub.Attach(attach()).disk == DISK
    (asked,) = attacher.asked
    assert asked == attacher_pb2.AttachRequest(
        spec=attacher_pb2.AttachSpec(
            uuid=str(VOLUME),
            subnqn=SPEC.subnqn,
            hostnqn=SPEC.hostnqn,
            paths=[attacher_pb2.TargetPath(trtype="TCP", adrfam="IPv4", traddr="192.0.2.1", trsvcid="4420")],
            size_bytes=1 << 30,
        ),
        placement=attacher_pb2.PLACEMENT_EXCLUSIVE,
        boot_id="boot",
    )


def test_a_foreign_host_nqn_is_the_storage_backends_business(grpc_stub) -> None:
    grpc_stub.Attach(attach(hostnqn="nqn.2014-08.org.nvmexpress:uuid:6ba7b814-9dad-41d1-80b4-00c04fd430c8"))


def test_the_other_calls_pass_through(grpc_stub, attacher: Attacher) -> None:
    asked = {"volume_id": VOLUME_ID, "boot_id": "boot"}
    assert grpc_stub.Detach(pb.DetachRequest(**asked)).disk == DISK
    attacher.disk = None
    assert not grpc_stub.Detach(pb.DetachRequest(**asked)).HasField("disk")
    grpc_stub.Release(pb.ReleaseRequest(**asked))
    assert len(grpc_stub.ListAttachments(pb.ListAttachmentsRequest()).attachments) == 1
    grpc_stub.ListAttachments(pb.ListAttachmentsRequest(volume_id=VOLUME_ID))
    neutral = {"uuid": str(VOLUME), "boot_id": "boot"}
    assert attacher.asked == [
        attacher_pb2.DetachRequest(**neutral),
        attacher_pb2.DetachRequest(**neutral),
        attacher_pb2.ReleaseRequest(**neutral),
        attacher_pb2.ListAttachmentsRequest(),
        attacher_pb2.ListAttachmentsRequest(uuid=str(VOLUME)),
    ]


def test_info_has_the_attachers_real_limits(grpc_stub) -> None:
    info = grpc_stub.GetInfo(pb.GetInfoRequest())
    assert info == pb.GetInfoResponse(dpu_uuid=str(DPU), max_volumes=34, free_volumes=20, transports=["TCP"])


BAD = [
    ("Attach", attach(volume_id=""), "volume_id ''"),
    ("Attach", attach(volume_id=f"pool-a/{OTHER}"), f"has uuid {OTHER}, but its publish_context {VOLUME}"),
    ("Attach", attach(volume_id=VOLUME_ID.upper()), "not of the form"),
    ("Attach", attach(drop="subnqn"), "lacks subnqn"),
    ("Attach", attach(uuid="abc"), "publish_context uuid 'abc'"),
    ("Attach", attach(subnqn=naming.subnqn(OTHER)), "of another one"),
    ("Attach", attach(transport="FC"), "transport 'FC'"),
    ("Attach", attach(paths="[]"), "names no address"),
    ("Attach", attach(paths=json.dumps([{"traddr": "x", "trsvcid": 1}])), "publish_context paths"),
    ("Attach", attach(size="-1"), "size '-1'"),
    ("Attach", attach(hostnqn=naming.hostnqn(OTHER, "00000001")), f"made for DPU {OTHER}, but this is DPU {DPU}"),
    ("Attach", attach(more="x" * 5000), "larger than 4096"),
    ("Detach", pb.DetachRequest(boot_id="boot"), "volume_id ''"),
    ("Release", pb.ReleaseRequest(volume_id="pool-a", boot_id="boot"), "volume_id 'pool-a'"),
    ("ListAttachments", pb.ListAttachmentsRequest(volume_id="x"), "volume_id 'x'"),
]


@pytest.mark.parametrize(("method", "asked", "says"), BAD)
def test_bad_input_never_reaches_the_attacher(grpc_stub, attacher: Attacher, method: str, asked, says: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(grpc_stub, method)(asked)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in details(refused.value)
    assert attacher.asked == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BusyError, grpc.StatusCode.ABORTED),
        (errors.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
        (errors.FailedPreconditionError, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.ResourceExhaustedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
        (errors.InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_the_attachers_reasons_arrive(grpc_stub, attacher: Attacher, error, code: grpc.StatusCode) -> None:
    attacher.error = error("what happened, what to do")
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.Attach(attach())
    assert refused.value.code() is code
    assert "what happened, what to do" in details(refused.value)


def test_an_attacher_that_is_away_is_unavailable(
    grpc_stub, attacher_server: AioServerThread, attacher: Attacher
) -> None:
    attacher_server.__exit__()
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.GetInfo(pb.GetInfoRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "volume-attacher" in details(refused.value)


def test_a_message_of_8_mib(grpc_stub, attacher: Attacher) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.Attach(attach(paths="[" * (8 << 20)))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert attacher.asked == []
