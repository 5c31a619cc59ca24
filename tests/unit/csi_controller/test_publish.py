from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.csi_controller.requests import RWX, Modes, block, create, mount, node, publish
from tests.unit.csi_controller.test_create_delete import refusal

from dpucsi import naming
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.csi import publish_context
from dpucsi.errors import TimedOutError
from dpucsi.testing.fake_backend import FakeBackend


@pytest.fixture
def volume_id(grpc_stub: Any, pool: FakeBackend) -> str:
    return str(grpc_stub.CreateVolume(create()).volume.volume_id)


def hosts(pool: FakeBackend, volume_id: str) -> tuple[str, ...]:
    return pool.volumes[naming.VolumeId.parse(volume_id).uuid].hosts


def unpublish(volume_id: str, node_id: str = "") -> csi_pb2.ControllerUnpublishVolumeRequest:
    return csi_pb2.ControllerUnpublishVolumeRequest(volume_id=volume_id, node_id=node_id)


def test_publish_gives_a_context_that_the_dpu_can_read(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    node_id = node()
    spec = publish_context.decode(grpc_stub.ControllerPublishVolume(publish(volume_id, node_id)).publish_context)
    assert spec.uuid == naming.VolumeId.parse(volume_id).uuid
    assert naming.dpu_of_hostnqn(spec.hostnqn) == naming.NodeId.parse(node_id).dpu
    assert hosts(pool, volume_id) == (spec.hostnqn,)


def test_publish_again_keeps_the_generation(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    request = publish(volume_id)
    assert grpc_stub.ControllerPublishVolume(request) == grpc_stub.ControllerPublishVolume(request)


def test_publish_after_unpublish_is_a_new_generation(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    request = publish(volume_id)
    old = grpc_stub.ControllerPublishVolume(request).publish_context["hostnqn"]
    grpc_stub.ControllerUnpublishVolume(unpublish(volume_id, request.node_id))
    assert grpc_stub.ControllerPublishVolume(request).publish_context["hostnqn"] != old


@pytest.mark.parametrize("capability", [mount(), block(), mount(Modes.SINGLE_NODE_SINGLE_WRITER)])
def test_a_single_node_volume_stays_on_one_node(
    grpc_stub: Any, pool: FakeBackend, volume_id: str, capability: csi_pb2.VolumeCapability
) -> None:
    first = node()
    grpc_stub.ControllerPublishVolume(publish(volume_id, first, volume_capability=capability))
    before = hosts(pool, volume_id)
    code, words = refusal(grpc_stub.ControllerPublishVolume, publish(volume_id, volume_capability=capability))
    assert code == "FAILED_PRECONDITION"
    assert str(naming.NodeId.parse(first).dpu) in words
    assert hosts(pool, volume_id) == before


def test_shared_raw_block_is_on_two_nodes_and_not_on_three(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    nodes = [node(), node()]
    for node_id in nodes * 2:  # again changes nothing
        grpc_stub.ControllerPublishVolume(publish(volume_id, node_id, volume_capability=RWX))
    assert len(hosts(pool, volume_id)) == 2
    code, words = refusal(grpc_stub.ControllerPublishVolume, publish(volume_id, volume_capability=RWX))
    assert code == "FAILED_PRECONDITION"
    assert all(str(naming.NodeId.parse(node_id).dpu) in words for node_id in nodes)


def test_a_host_that_is_not_cut_off_yet_blocks_everybody(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    uuid = naming.VolumeId.parse(volume_id).uuid
    leaver = naming.hostnqn(uuid4(), naming.new_generation())
    pool.volumes[uuid] = replace(pool.volumes[uuid], leaving=(leaver,))
    code, words = refusal(grpc_stub.ControllerPublishVolume, publish(volume_id))
    assert code == "UNAVAILABLE"
    assert str(naming.dpu_of_hostnqn(leaver)) in words


BAD_PUBLISHES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no volume_id": ({"volume_id": ""}, "INVALID_ARGUMENT", "volume_id"),
    "no node_id": ({"node_id": ""}, "INVALID_ARGUMENT", "node_id"),
    "no capability": ({"volume_capability": None}, "INVALID_ARGUMENT", "volume_capability"),
    "unknown node": ({"node_id": "some-fake-node"}, "NOT_FOUND", "some-fake-node"),
    "malformed volume_id": ({"volume_id": "fake-volume"}, "NOT_FOUND", "fake-volume"),
    "unknown volume": ({"volume_id": "pool-a/00000000-0000-5000-8000-000000000000"}, "NOT_FOUND", "00000000-0000"),
    "unknown storage backend": ({"volume_id": f"pool-z/{uuid4()}"}, "FAILED_PRECONDITION", "pool-z"),
    "readonly": ({"readonly": True}, "INVALID_ARGUMENT", "PUBLISH_READONLY"),
    "secret": ({"secrets": {"password": "hunter2"}}, "INVALID_ARGUMENT", "password"),
    "made as another kind": (
        {"volume_capability": block(), "volume_context": {"dpucsi/made-for": "mount"}},
        "INVALID_ARGUMENT",
        "made as mount",
    ),
    "tampered context": ({"volume_context": {"placement": "moon"}}, "INVALID_ARGUMENT", "moon"),
}


@pytest.mark.parametrize("bad", BAD_PUBLISHES)
def test_a_bad_publish_is_refused_and_changes_nothing(
    grpc_stub: Any, pool: FakeBackend, volume_id: str, bad: str
) -> None:
    fields, wanted_code, wanted_words = BAD_PUBLISHES[bad]
    before = dict(pool.volumes)
    code, words = refusal(grpc_stub.ControllerPublishVolume, publish(**{"volume_id": volume_id} | fields))
    assert code == wanted_code
    assert wanted_words in words
    assert "hunter2" not in words
    assert pool.volumes == before


def test_keys_of_the_cos_own_in_the_volume_context_are_let_through(
    grpc_stub: Any, pool: FakeBackend, volume_id: str
) -> None:
    context = {"storage.kubernetes.io/csiProvisionerIdentity": "1-8081-csi.dpucsi.io", "placement": "shared"}
    grpc_stub.ControllerPublishVolume(publish(volume_id, volume_context=context))


def test_unpublish_takes_it_from_the_node_alone(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    one, two = node(), node()
    for node_id in (one, two):
        grpc_stub.ControllerPublishVolume(publish(volume_id, node_id, volume_capability=RWX))
    grpc_stub.ControllerUnpublishVolume(unpublish(volume_id, one))
    (left,) = hosts(pool, volume_id)
    assert naming.dpu_of_hostnqn(left) == naming.NodeId.parse(two).dpu


def test_unpublish_without_a_node_takes_it_from_every_one(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    for _ in range(2):
        grpc_stub.ControllerPublishVolume(publish(volume_id, volume_capability=RWX))
    grpc_stub.ControllerUnpublishVolume(unpublish(volume_id))
    assert hosts(pool, volume_id) == ()
    grpc_stub.ControllerUnpublishVolume(unpublish(volume_id))


def test_unpublish_without_proof_is_never_ok(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    pool.trouble = TimedOutError("the end of its revoked hosts' sessions did not happen within 30.0 s")
    assert refusal(grpc_stub.ControllerUnpublishVolume, unpublish(volume_id))[0] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("volume_id", ["fake-volume", "pool-a/00000000-0000-5000-8000-000000000000"])
def test_unpublish_of_a_volume_that_is_not_there_is_done(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    grpc_stub.ControllerUnpublishVolume(unpublish(volume_id, node()))


def validate(
    volume_id: str, *capabilities: csi_pb2.VolumeCapability, **fields: Any
) -> csi_pb2.ValidateVolumeCapabilitiesRequest:
    return csi_pb2.ValidateVolumeCapabilitiesRequest(
        volume_id=volume_id, volume_capabilities=list(capabilities), **fields
    )


def test_validate_confirms_what_create_accepts(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    request = validate(
        volume_id, mount(), volume_context={"placement": "shared"}, parameters={"backend": "pool-a", "thin": "true"}
    )
    confirmed = grpc_stub.ValidateVolumeCapabilities(request).confirmed
    assert confirmed.volume_capabilities == request.volume_capabilities
    assert confirmed.parameters == request.parameters


@pytest.mark.parametrize(
    ("capability", "fields", "words"),
    [
        (mount(Modes.MULTI_NODE_MULTI_WRITER), {}, "raw block only"),
        (mount(Modes.MULTI_NODE_READER_ONLY), {}, "not offered"),
        (block(), {"volume_context": {"dpucsi/made-for": "mount"}}, "made as mount"),
        (mount(), {"volume_context": {"placement": "moon"}}, "moon"),
        (mount(), {"parameters": {"backend": "pool-b"}}, "pool-b"),
        (mount(), {"parameters": {"thin": "false"}}, "thin"),
        (
            mount(),
            {"parameters": {"placement": "shared"}, "volume_context": {"placement": "exclusive"}},
            "placement",
        ),
        (mount(), {"mutable_parameters": {"iops": "1"}}, "mutable_parameters"),
    ],
)
def test_validate_says_why_not(
    grpc_stub: Any,
    pool: FakeBackend,
    volume_id: str,
    capability: csi_pb2.VolumeCapability,
    fields: dict[str, Any],
    words: str,
) -> None:
    answer = grpc_stub.ValidateVolumeCapabilities(validate(volume_id, capability, **fields))
    assert not answer.HasField("confirmed")
    assert words in answer.message


def test_validate_of_nothing(grpc_stub: Any, pool: FakeBackend, volume_id: str) -> None:
    unknown = validate(f"pool-a/{uuid4()}", mount())
    assert refusal(grpc_stub.ValidateVolumeCapabilities, validate(volume_id))[0] == "INVALID_ARGUMENT"
    assert refusal(grpc_stub.ValidateVolumeCapabilities, validate("", mount()))[0] == "INVALID_ARGUMENT"
    assert refusal(grpc_stub.ValidateVolumeCapabilities, unknown)[0] == "NOT_FOUND"
    assert refusal(grpc_stub.ValidateVolumeCapabilities, validate("fake", mount()))[0] == "NOT_FOUND"
