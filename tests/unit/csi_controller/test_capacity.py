from typing import Any

import grpc
import pytest
from tests.unit.csi_controller.requests import MIB, Modes, block, create, mount

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.backends import Capacity
from dpucsi.errors import UnavailableError
from dpucsi.testing.fake_backend import CAPACITY, FakeBackend

XFS_MIB = 300


def asked(**fields: Any) -> csi_pb2.GetCapacityRequest:
    return csi_pb2.GetCapacityRequest(**({"parameters": {"backend": "pool-a"}} | fields))


def test_the_parameters_choose_the_storage_backend(grpc_stub: Any, pool: FakeBackend) -> None:
    before = grpc_stub.GetCapacity(asked())
    other = grpc_stub.GetCapacity(asked(parameters={"backend": "pool-b"}))
    grpc_stub.CreateVolume(create())
    after = grpc_stub.GetCapacity(asked())
    assert before.available_capacity - after.available_capacity == 64 * MIB
    assert grpc_stub.GetCapacity(asked(parameters={"backend": "pool-b"})) == other
    assert (after.maximum_volume_size.value, after.minimum_volume_size.value) == (CAPACITY, MIB)


def test_a_file_system_may_need_more_than_the_storage_s_minimum(grpc_stub: Any, pool: FakeBackend) -> None:
    xfs = grpc_stub.GetCapacity(asked(volume_capabilities=[mount(fs_type="xfs")]))
    assert xfs.minimum_volume_size.value == XFS_MIB * MIB
    assert grpc_stub.GetCapacity(asked(volume_capabilities=[mount()])).minimum_volume_size.value == MIB


def test_what_the_storage_does_not_tell_is_not_said(
    grpc_stub: Any, pool: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def capacity(_: object) -> Capacity:
        return Capacity(7)

    monkeypatch.setattr(pool, "capacity", capacity)
    answer = grpc_stub.GetCapacity(asked())
    assert answer.available_capacity == 7
    assert not answer.HasField("maximum_volume_size")
    assert not answer.HasField("minimum_volume_size")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"parameters": {"backend": "pool-c"}}, "pool-c"),
        ({"parameters": {}}, "parameter backend is missing"),
        ({"parameters": {"backend": "pool-a", "colour": "red"}}, "colour"),
        ({"volume_capabilities": [block(Modes.MULTI_NODE_SINGLE_WRITER)]}, "MULTI_NODE_SINGLE_WRITER"),
    ],
)
def test_what_create_would_refuse(grpc_stub: Any, pool: FakeBackend, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.GetCapacity(asked(**fields))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in (refused.value.details() or "")


def test_storage_that_does_not_answer(grpc_stub: Any, pool: FakeBackend) -> None:
    pool.trouble = UnavailableError("nobody there")
    with pytest.raises(grpc.RpcError) as refused:
        grpc_stub.GetCapacity(asked())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
