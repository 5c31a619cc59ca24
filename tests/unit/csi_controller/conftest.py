"""csi-controller on a unix socket over a fake storage backend, with pytest-grpc's client side."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from tests.unit.csi_controller.requests import CLUSTER
from tests.unit.wire import AioServerThread, create_channel

from csi_controller.controller import ControllerServicer
from dpucsi.aio import Operations
from dpucsi.api.csi.v1 import csi_pb2_grpc
from dpucsi.rpc import Service
from dpucsi.testing.fake_backend import FakeBackend


@pytest.fixture(scope="module")
def grpc_add_to_server() -> Callable[[Any, Any], None]:
    return csi_pb2_grpc.add_ControllerServicer_to_server


@pytest.fixture(scope="module")
def backends() -> dict[str, FakeBackend]:
    return {}


@pytest.fixture(scope="module")
def grpc_servicer(backends: dict[str, FakeBackend]) -> Callable[[], ControllerServicer]:
    """Made on the server's loop, as the backends hold events of it."""

    def make() -> ControllerServicer:
        backends.update({"pool-a": FakeBackend(), "pool-b": FakeBackend()})
        return ControllerServicer(CLUSTER, backends, Operations(limit_s=2.0))

    return make


@pytest.fixture(scope="module")
def grpc_server(
    grpc_add_to_server: Callable[[Any, Any], None], grpc_servicer: Callable[[], ControllerServicer]
) -> Iterator[AioServerThread]:
    with (
        TemporaryDirectory(prefix="ctl") as folder,
        AioServerThread(
            Path(folder) / "s", lambda: [Service("csi.v1.Controller", grpc_add_to_server, grpc_servicer())]
        ) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def grpc_create_channel(grpc_server: AioServerThread) -> Callable[..., grpc.Channel]:
    return create_channel(grpc_server.target)


@pytest.fixture(scope="module")
def grpc_stub_cls() -> Any:
    return csi_pb2_grpc.ControllerStub


@pytest.fixture
def pool(grpc_server: AioServerThread, backends: dict[str, FakeBackend]) -> Iterator[FakeBackend]:
    """The storage backend that the requests of these tests name, in good health again afterwards."""
    backend = backends["pool-a"]
    yield backend

    async def heal() -> None:
        backend.trouble = None
        backend.gate.set()
        backend.waiting.clear()

    grpc_server.call(heal())
