from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.message import Message
from tests.unit.csi_controller.requests import CLUSTER, MIB, RWX, Modes, block, create, mount, publish, size
from tests.unit.wire import AioServerThread

from dpucsi import naming
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.errors import UnavailableError
from dpucsi.testing.fake_backend import FakeBackend


def refusal(call: Callable[..., Any], request: Message) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as failed:
        call(request, timeout=10)
    return failed.value.code().name, failed.value.details() or ""


def test_create_derives_the_identity_from_cluster_and_name(grpc_stub: Any, pool: FakeBackend) -> None:
    request = create()
    volume = grpc_stub.CreateVolume(request).volume
    uuid = naming.volume_uuid(CLUSTER, request.name)
    assert volume.volume_id == f"pool-a/{uuid}"
    assert volume.capacity_bytes == 64 * MIB
    assert dict(volume.volume_context) == {"placement": "shared", "dpucsi/made-for": "mount"}
    assert uuid in pool.volumes


def test_create_says_that_hosts_can_use_it_and_nobody_else(grpc_stub: Any, pool: FakeBackend) -> None:
    hosts = csi_pb2.Topology(segments={"csi.dpucsi.io/role": "host"})
    for requisite in ([], [hosts], [csi_pb2.Topology(segments={"zone": "a"}), hosts]):
        asked = csi_pb2.TopologyRequirement(requisite=requisite)
        volume = grpc_stub.CreateVolume(create(accessibility_requirements=asked)).volume
        assert list(volume.accessible_topology) == [hosts]
    elsewhere = csi_pb2.TopologyRequirement(requisite=[csi_pb2.Topology(segments={"zone": "a"})])
    code, words = refusal(grpc_stub.CreateVolume, create(accessibility_requirements=elsewhere))
    assert code == "RESOURCE_EXHAUSTED"
    assert "zone" in words and "csi.dpucsi.io/role=host" in words


def test_create_again_is_the_same_volume(grpc_stub: Any, pool: FakeBackend) -> None:
    request = create()
    assert grpc_stub.CreateVolume(request) == grpc_stub.CreateVolume(request)


def test_create_again_with_another_size_names_both(grpc_stub: Any, pool: FakeBackend) -> None:
    request = create()
    grpc_stub.CreateVolume(request)
    request.capacity_range.required_bytes = 128 * MIB
    code, words = refusal(grpc_stub.CreateVolume, request)
    assert code == "ALREADY_EXISTS"
    assert str(64 * MIB) in words
    assert str(128 * MIB) in words


def test_create_passes_on_parameters(grpc_stub: Any, pool: FakeBackend) -> None:
    parameters = {
        "backend": "pool-a",
        "placement": "exclusive",
        "thin": "false",
        "csi.storage.k8s.io/pvc/name": "data",
    }
    volume = grpc_stub.CreateVolume(create(parameters=parameters)).volume
    assert volume.volume_context["placement"] == "exclusive"
    assert pool.volumes[naming.VolumeId.parse(volume.volume_id).uuid].parameters == {"thin": "false"}


def test_create_without_a_size_takes_the_default(grpc_stub: Any, pool: FakeBackend) -> None:
    assert grpc_stub.CreateVolume(create(capacity_range=None)).volume.capacity_bytes == 64 * MIB


def test_xfs_is_never_made_too_small_to_format(grpc_stub: Any, pool: FakeBackend) -> None:
    volume = grpc_stub.CreateVolume(create(volume_capabilities=[mount(fs_type="xfs")])).volume
    assert volume.capacity_bytes == 300 * MIB


SNAPSHOT = csi_pb2.VolumeContentSource(snapshot=csi_pb2.VolumeContentSource.SnapshotSource(snapshot_id="s"))
BAD_CREATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no name": ({"name": ""}, "INVALID_ARGUMENT", "name is missing"),
    "long name": ({"name": "x" * 129}, "INVALID_ARGUMENT", "128 bytes"),
    "control character": ({"name": "a\nb"}, "INVALID_ARGUMENT", "control"),
    "no capabilities": ({"volume_capabilities": []}, "INVALID_ARGUMENT", "volume_capabilities"),
    "no access type": (
        {"volume_capabilities": [csi_pb2.VolumeCapability(access_mode=Modes(mode=Modes.SINGLE_NODE_WRITER))]},
        "INVALID_ARGUMENT",
        "access_type",
    ),
    "no access mode": ({"volume_capabilities": [mount(Modes.UNKNOWN)]}, "INVALID_ARGUMENT", "access_mode"),
    "shared file system": (
        {"volume_capabilities": [mount(Modes.MULTI_NODE_MULTI_WRITER)]},
        "INVALID_ARGUMENT",
        "raw block only",
    ),
    "readers on many nodes": (
        {"volume_capabilities": [mount(Modes.MULTI_NODE_READER_ONLY)]},
        "INVALID_ARGUMENT",
        "not offered",
    ),
    "block and mount": ({"volume_capabilities": [mount(), block()]}, "INVALID_ARGUMENT", "choose one"),
    "unknown file system": ({"volume_capabilities": [mount(fs_type="ntfs")]}, "INVALID_ARGUMENT", "ntfs"),
    "size of 0": ({"capacity_range": size()}, "INVALID_ARGUMENT", "0 bytes"),
    "negative size": ({"capacity_range": size(-1)}, "INVALID_ARGUMENT", "-1"),
    "limit below required": ({"capacity_range": size(2 * MIB, MIB)}, "INVALID_ARGUMENT", str(2 * MIB)),
    "limit below the minimum": ({"capacity_range": size(1, 1)}, "OUT_OF_RANGE", "not possible"),
    "limit too small for xfs": (
        {"capacity_range": size(1, 64 * MIB), "volume_capabilities": [mount(fs_type="xfs")]},
        "OUT_OF_RANGE",
        str(300 * MIB),
    ),
    "beyond the store": ({"capacity_range": size(1 << 62)}, "OUT_OF_RANGE", str(1 << 62)),
    "no storage backend": ({"parameters": {}}, "INVALID_ARGUMENT", "pool-a, pool-b"),
    "unknown storage backend": ({"parameters": {"backend": "pool-x"}}, "INVALID_ARGUMENT", "pool-x"),
    "unknown placement": (
        {"parameters": {"backend": "pool-a", "placement": "far"}},
        "INVALID_ARGUMENT",
        "shared, exclusive",
    ),
    "unknown parameter": ({"parameters": {"backend": "pool-a", "colour": "red"}}, "INVALID_ARGUMENT", "'colour'"),
    "unknown secret": ({"secrets": {"password": "hunter2"}}, "INVALID_ARGUMENT", "password"),
    "content source": ({"volume_content_source": SNAPSHOT}, "INVALID_ARGUMENT", "volume_content_source"),
    "mutable parameters": ({"mutable_parameters": {"iops": "100"}}, "INVALID_ARGUMENT", "iops"),
}


@pytest.mark.parametrize("bad", BAD_CREATES)
def test_a_bad_create_is_refused_by_name_and_changes_nothing(grpc_stub: Any, pool: FakeBackend, bad: str) -> None:
    fields, wanted_code, wanted_words = BAD_CREATES[bad]
    before = dict(pool.volumes)
    code, words = refusal(grpc_stub.CreateVolume, create(**fields))
    assert code == wanted_code
    assert wanted_words in words
    assert "hunter2" not in words
    assert pool.volumes == before


def test_a_message_of_8_mib_is_refused(grpc_stub: Any, pool: FakeBackend) -> None:
    code, _ = refusal(grpc_stub.CreateVolume, create(parameters={"backend": "pool-a", "x": "y" * (8 * MIB)}))
    assert code == "RESOURCE_EXHAUSTED"


def test_32_creates_at_once(grpc_stub: Any, pool: FakeBackend) -> None:
    with ThreadPoolExecutor(32) as threads:
        made = list(threads.map(grpc_stub.CreateVolume, [create() for _ in range(32)]))
    assert len({answer.volume.volume_id for answer in made}) == 32


def test_the_same_name_twice_at_once_is_aborted_and_then_the_same(
    grpc_stub: Any, grpc_server: AioServerThread, pool: FakeBackend
) -> None:
    request = create()
    hold(grpc_server, pool)
    first = grpc_stub.CreateVolume.future(request)
    grpc_server.call(pool.waiting.wait())
    code, words = refusal(grpc_stub.CreateVolume, request)
    assert (code, request.name in words) == ("ABORTED", False)
    assert "CreateVolume" in words
    release(grpc_server, pool)
    assert grpc_stub.CreateVolume(request) == first.result(timeout=10)


def test_a_caller_that_leaves_does_not_stop_the_work(
    grpc_stub: Any, grpc_server: AioServerThread, pool: FakeBackend
) -> None:
    request = create()
    hold(grpc_server, pool)
    left = grpc_stub.CreateVolume.future(request)
    grpc_server.call(pool.waiting.wait())
    left.cancel()
    assert refusal(grpc_stub.CreateVolume, request)[0] == "ABORTED"
    release(grpc_server, pool)

    async def made() -> bool:
        return naming.volume_uuid(CLUSTER, request.name) in pool.volumes

    assert grpc_server.call(made())
    grpc_stub.CreateVolume(request)


def test_storage_that_is_away_is_unavailable(grpc_stub: Any, pool: FakeBackend) -> None:
    pool.trouble = UnavailableError("storage backend pool-a is away")
    assert refusal(grpc_stub.CreateVolume, create()) == ("UNAVAILABLE", "storage backend pool-a is away")


def test_storage_that_hangs_ends_in_the_operation_limit(
    grpc_stub: Any, grpc_server: AioServerThread, pool: FakeBackend
) -> None:
    hold(grpc_server, pool)
    code, words = refusal(grpc_stub.CreateVolume, create())
    assert (code, "2 s" in words) == ("DEADLINE_EXCEEDED", True)


def test_delete_is_idempotent(grpc_stub: Any, pool: FakeBackend) -> None:
    volume = grpc_stub.CreateVolume(create()).volume
    for _ in range(2):
        grpc_stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id=volume.volume_id))
    assert naming.VolumeId.parse(volume.volume_id).uuid not in pool.volumes


def test_delete_of_an_id_that_we_never_gave_has_nothing_to_do(grpc_stub: Any, pool: FakeBackend) -> None:
    grpc_stub.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id="reallyfakevolumeid"))


def test_delete_on_a_storage_backend_that_is_not_configured_is_no_success(grpc_stub: Any, pool: FakeBackend) -> None:
    request = csi_pb2.DeleteVolumeRequest(volume_id=f"pool-z/{uuid4()}")
    code, words = refusal(grpc_stub.DeleteVolume, request)
    assert code == "FAILED_PRECONDITION"
    assert "pool-z" in words


def test_delete_of_a_published_volume_is_refused(grpc_stub: Any, pool: FakeBackend) -> None:
    volume_id = grpc_stub.CreateVolume(create(volume_capabilities=[RWX])).volume.volume_id
    grpc_stub.ControllerPublishVolume(publish(volume_id))
    assert refusal(grpc_stub.DeleteVolume, csi_pb2.DeleteVolumeRequest(volume_id=volume_id))[0] == "FAILED_PRECONDITION"


@pytest.mark.parametrize("fields", [{}, {"volume_id": f"pool-a/{UUID(int=7)}", "secrets": {"password": "hunter2"}}])
def test_a_bad_delete_is_refused(grpc_stub: Any, pool: FakeBackend, fields: dict[str, Any]) -> None:
    code, words = refusal(grpc_stub.DeleteVolume, csi_pb2.DeleteVolumeRequest(**fields))
    assert code == "INVALID_ARGUMENT"
    assert "hunter2" not in words


def test_what_is_not_offered_is_unimplemented(grpc_stub: Any) -> None:
    calls: list[tuple[Any, Message]] = [
        (grpc_stub.ListVolumes, csi_pb2.ListVolumesRequest()),
        (grpc_stub.CreateSnapshot, csi_pb2.CreateSnapshotRequest()),
        (grpc_stub.ControllerExpandVolume, csi_pb2.ControllerExpandVolumeRequest()),
    ]
    for call, request in calls:
        assert refusal(call, request)[0] == "UNIMPLEMENTED"


def test_capabilities_are_what_is_implemented(grpc_stub: Any) -> None:
    answer = grpc_stub.ControllerGetCapabilities(csi_pb2.ControllerGetCapabilitiesRequest())
    names = {csi_pb2.ControllerServiceCapability.RPC.Type.Name(one.rpc.type) for one in answer.capabilities}
    assert names == {"CREATE_DELETE_VOLUME", "PUBLISH_UNPUBLISH_VOLUME", "SINGLE_NODE_MULTI_WRITER", "GET_CAPACITY"}


def hold(grpc_server: AioServerThread, pool: FakeBackend) -> None:
    async def close_gate() -> None:
        pool.gate.clear()

    grpc_server.call(close_gate())


def release(grpc_server: AioServerThread, pool: FakeBackend) -> None:
    async def open_gate() -> None:
        pool.gate.set()

    grpc_server.call(open_gate())
