"""The CSI Node and Identity services over a real socket: status codes and messages for bad input."""

from typing import Any

import grpc
import pytest
from tests.unit.csi_node_host.rig import VOLUME, capability
from tests.unit.wire import AioServerThread, create_channel, details

from csi_node_host.dpu import Dpu
from csi_node_host.node import CAPABILITIES, NodeServicer
from csi_node_host.record import Volumes
from csi_node_host.site import Site
from dpucsi.aio import Operations
from dpucsi.api.csi.v1 import csi_pb2, csi_pb2_grpc
from dpucsi.csi.identity import IdentityServicer
from dpucsi.nvme import Sysfs
from dpucsi.rpc import Endpoint, Service, channel
from dpucsi.store import Records
from dpucsi.testing.nvme_tree import NvmeTree

SECRET = "s3cr3t-canary"


@pytest.fixture(scope="module")
def grpc_server(tmp_path_factory):
    root = tmp_path_factory.mktemp("wire")
    tree = NvmeTree(root / "host")

    def services():
        nobody = channel(Endpoint(path=root / "nobody.sock"))
        volumes = Volumes(Records.open(root / "node.db"), "boot")
        site = Site(Sysfs(tree.sys), tree.dev, Dpu(lambda: nobody, "boot"), volumes, 1.0)
        return [
            Service("csi.v1.Identity", csi_pb2_grpc.add_IdentityServicer_to_server, IdentityServicer()),
            Service(
                "csi.v1.Node", csi_pb2_grpc.add_NodeServicer_to_server, NodeServicer(site, Operations(10.0), "node-a")
            ),
        ]

    with AioServerThread(root / "csi.sock", services) as server:
        yield server


@pytest.fixture(scope="module")
def grpc_create_channel(grpc_server):
    return create_channel(grpc_server.target)


@pytest.fixture(scope="module")
def grpc_stub_cls():
    return csi_pb2_grpc.NodeStub


def stage(**changes):
    values = {
        "volume_id": str(VOLUME),
        "staging_target_path": "/tmp",
        "volume_capability": capability(),
        "publish_context": {"transport": "TCP"},
    }
    return csi_pb2.NodeStageVolumeRequest(**(values | changes))


def publish(**changes):
    values = {
        "volume_id": str(VOLUME),
        "staging_target_path": "/tmp",
        "target_path": "/tmp/target",
        "volume_capability": capability(),
    }
    return csi_pb2.NodePublishVolumeRequest(**(values | changes))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("volume_id", {"volume_id": ""}),
        ("volume_id", {"volume_id": "no-slash"}),
        ("volume_id", {"volume_id": "pool-a/" + "x" * 5000}),
        ("staging_target_path", {"staging_target_path": ""}),
        ("staging_target_path", {"staging_target_path": "relative"}),
        ("staging_target_path", {"staging_target_path": "/a/../b"}),
        ("staging_target_path", {"staging_target_path": "/"}),
        ("staging_target_path", {"staging_target_path": "/a\0b"}),
        ("volume_capability", {"volume_capability": None}),
        ("fs_type", {"volume_capability": capability("btrfs")}),
        ("mount_flags", {"volume_capability": capability(flags=[f"-o{SECRET}"])}),
        ("publish_context", {"publish_context": {}}),
        ("placement", {"volume_context": {"placement": "anywhere"}}),
        ("content-source", {"volume_context": {"dpucsi/content-source": "nowhere"}}),
        ("secrets key", {"secrets": {"key": SECRET}}),
    ],
)
def test_bad_stage(grpc_stub, field, changes):
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.NodeStageVolume(stage(**changes))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in details(refused.value) and SECRET not in details(refused.value)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("volume_id", {"volume_id": ""}),
        ("target_path", {"target_path": ""}),
        ("staging_target_path", {"staging_target_path": ""}),
        ("volume_capability", {"volume_capability": None}),
        ("secrets", {"secrets": {"key": SECRET}}),
    ],
)
def test_bad_publish(grpc_stub, field, changes):
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.NodePublishVolume(publish(**changes))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in details(refused.value) and SECRET not in details(refused.value)


@pytest.mark.parametrize(
    ("method", "request_type", "missing"),
    [
        ("NodeUnstageVolume", csi_pb2.NodeUnstageVolumeRequest, {"staging_target_path": "/tmp/x"}),
        ("NodeUnstageVolume", csi_pb2.NodeUnstageVolumeRequest, {"volume_id": str(VOLUME)}),
        ("NodeUnpublishVolume", csi_pb2.NodeUnpublishVolumeRequest, {"target_path": "/tmp/x"}),
        ("NodeUnpublishVolume", csi_pb2.NodeUnpublishVolumeRequest, {"volume_id": str(VOLUME)}),
        ("NodeGetVolumeStats", csi_pb2.NodeGetVolumeStatsRequest, {"volume_id": str(VOLUME)}),
        ("NodeGetVolumeStats", csi_pb2.NodeGetVolumeStatsRequest, {"volume_path": "some/path"}),
    ],
)
def test_missing_fields(grpc_stub, method, request_type, missing):
    with pytest.raises(grpc.RpcError) as refused:
        getattr(grpc_stub, method)(request_type(**missing))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("volume_id", ["fake-vol-id", str(VOLUME)])
@pytest.mark.parametrize("path", ["some/path", "/tmp/nothing-here"])
def test_stats_of_what_is_not_here(grpc_stub, volume_id, path):
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.NodeGetVolumeStats(csi_pb2.NodeGetVolumeStatsRequest(volume_id=volume_id, volume_path=path))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_without_the_dpu(grpc_stub, tmp_path):
    unstage = csi_pb2.NodeUnstageVolumeRequest(volume_id=str(VOLUME), staging_target_path=str(tmp_path))
    for call in (
        lambda: grpc_stub.NodeGetInfo(csi_pb2.NodeGetInfoRequest()),
        lambda: grpc_stub.NodeStageVolume(stage(staging_target_path=str(tmp_path))),
        lambda: grpc_stub.NodeUnstageVolume(unstage),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "csi-node-dpu" in details(refused.value)


def test_capabilities(grpc_stub):
    answer = grpc_stub.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest())
    assert tuple(entry.rpc.type for entry in answer.capabilities) == CAPABILITIES


def test_what_is_not_offered(grpc_stub):
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.NodeExpandVolume(csi_pb2.NodeExpandVolumeRequest(volume_id=str(VOLUME), volume_path="/tmp"))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_identity_is_served_beside_it(grpc_channel):
    # Any: the generated types are those of an asyncio channel, and this one blocks
    identity: Any = csi_pb2_grpc.IdentityStub(grpc_channel)
    answer = identity.Probe(csi_pb2.ProbeRequest())
    assert answer.ready.value
