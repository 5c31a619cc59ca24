"""The two OPI services over a real socket, with no SPDK behind them: what they say to bad input."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value
from tests.unit.wire import AioServerThread, create_channel

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as remote_pb
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2_grpc, frontend_nvme_pb2_grpc
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.dpus.nvmf_tcp import NvmfTcpDriver
from dpucsi.model import HostFunction
from dpucsi.rpc import Service
from opi_bridge.app import Bridge, running_bridge
from opi_bridge.config import Config

UUID_1, UUID_2 = "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10", "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f11"
NQN = "nqn.2024-01.io.dpucsi:host:a"
TCP, IPV4 = common.NVME_TRANSPORT_TYPE_TCP, common.NVME_ADDRESS_FAMILY_IPV4


@pytest.fixture(scope="module")
def grpc_servicer() -> None:
    """The services make their servicers themselves."""


@pytest.fixture(scope="module")
def grpc_add_to_server() -> Callable[..., None]:
    return frontend_nvme_pb2_grpc.add_FrontendNvmeServiceServicer_to_server


@pytest.fixture(scope="module")
def grpc_server() -> Iterator[AioServerThread]:
    with tempfile.TemporaryDirectory(prefix="opi-") as folder:
        bridges: list[Any] = []

        async def start() -> Bridge:
            config = Config(
                listen=(),
                spdk=f"unix://{folder}/nobody.sock",
                state=Path(folder) / "state.db",
                driver="given",
                spdk_timeout=0.2,
                operation_limit=0.5,
            )
            running = running_bridge(config, NvmfTcpDriver("127.0.0.1", 4430, (HostFunction(0, 0),)))
            bridges.append(running)
            return await running.__aenter__()

        class Server(AioServerThread):
            async def _serve(self) -> None:
                bridge = await start()
                self._services = lambda: list[Service](bridge.services)
                await super()._serve()
                await bridges[0].__aexit__(None, None, None)

        with Server(Path(folder) / "opi.sock", list) as server:
            yield server


@pytest.fixture(scope="module")
def grpc_create_channel(grpc_server: AioServerThread) -> Callable[..., grpc.Channel]:
    return create_channel(grpc_server.target)


@pytest.fixture(scope="module")
def frontend(grpc_channel: Any) -> Any:
    return frontend_nvme_pb2_grpc.FrontendNvmeServiceStub(grpc_channel)


@pytest.fixture(scope="module")
def remote(grpc_channel: Any) -> Any:
    return backend_nvme_pb2_grpc.NvmeRemoteControllerServiceStub(grpc_channel)


@pytest.fixture(scope="module")
def parent(remote: Any) -> str:
    """A remote controller is nothing but a record, so it can be made without SPDK."""
    controller = remote_pb.NvmeRemoteController(multipath=remote_pb.NVME_MULTIPATH_MULTIPATH)
    request = remote_pb.CreateNvmeRemoteControllerRequest(
        nvme_remote_controller=controller, nvme_remote_controller_id="vol-1"
    )
    assert remote.CreateNvmeRemoteController(request) == remote.CreateNvmeRemoteController(request)
    return "nvmeRemoteControllers/vol-1"


def refusal(call: Callable[..., Any], request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call(request)
    return refused.value.code(), refused.value.details() or ""


SUBSYSTEMS: list[tuple[dict[str, Any], grpc.StatusCode, str]] = [
    ({}, grpc.StatusCode.INVALID_ARGUMENT, "spec.nqn"),
    ({"nqn": "iqn.2001"}, grpc.StatusCode.INVALID_ARGUMENT, "iqn.2001"),
    ({"nqn": NQN, "serial_number": "x" * 21}, grpc.StatusCode.INVALID_ARGUMENT, "serial_number"),
    ({"nqn": NQN, "model_number": "ä"}, grpc.StatusCode.INVALID_ARGUMENT, "model_number"),
    ({"nqn": NQN, "max_namespaces": -1}, grpc.StatusCode.INVALID_ARGUMENT, "max_namespaces"),
    ({"nqn": NQN, "hostnqn": "me"}, grpc.StatusCode.INVALID_ARGUMENT, "hostnqn"),
    ({"nqn": NQN, "psk": b"secret-canary"}, grpc.StatusCode.UNIMPLEMENTED, "psk"),
    ({"nqn": NQN}, grpc.StatusCode.UNAVAILABLE, "SPDK"),
]


@pytest.mark.parametrize(("spec", "code", "word"), SUBSYSTEMS)
def test_subsystem(frontend: Any, spec: dict[str, Any], code: grpc.StatusCode, word: str) -> None:
    subsystem = pb.NvmeSubsystem(spec=pb.NvmeSubsystemSpec(**spec))
    found, details = refusal(frontend.CreateNvmeSubsystem, pb.CreateNvmeSubsystemRequest(nvme_subsystem=subsystem))
    assert found is code, details
    assert word in details
    assert "canary" not in details


PATHS: list[tuple[dict[str, Any], dict[str, Any], grpc.StatusCode, str]] = [
    ({"trtype": 0}, {}, grpc.StatusCode.INVALID_ARGUMENT, "trtype"),
    ({"trtype": 99}, {}, grpc.StatusCode.INVALID_ARGUMENT, "NVME_TRANSPORT_TYPE_TCP"),
    ({"trtype": common.NVME_TRANSPORT_TYPE_FC}, {}, grpc.StatusCode.UNIMPLEMENTED, "trtype"),
    ({"traddr": ""}, {}, grpc.StatusCode.INVALID_ARGUMENT, "traddr"),
    ({"fabrics": None}, {}, grpc.StatusCode.INVALID_ARGUMENT, "fabrics"),
    ({}, {"trsvcid": 0}, grpc.StatusCode.INVALID_ARGUMENT, "trsvcid"),
    ({}, {"trsvcid": 65536}, grpc.StatusCode.INVALID_ARGUMENT, "65536"),
    ({}, {"subnqn": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "subnqn"),
    ({}, {"hostnqn": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "hostnqn"),
    ({}, {"adrfam": common.NVME_ADDRESS_FAMILY_IB}, grpc.StatusCode.UNIMPLEMENTED, "adrfam"),
    ({}, {"source_traddr": "192.0.2.1"}, grpc.StatusCode.UNIMPLEMENTED, "source"),
    ({}, {}, grpc.StatusCode.UNAVAILABLE, "SPDK"),
]


@pytest.mark.parametrize(("fields", "fabrics", "code", "word"), PATHS)
def test_path(
    remote: Any, parent: str, fields: dict[str, Any], fabrics: dict[str, Any], code: grpc.StatusCode, word: str
) -> None:
    spec: dict[str, Any] = {"trsvcid": 4420, "subnqn": NQN, "adrfam": IPV4} | fabrics
    given: dict[str, Any] = {"trtype": TCP, "traddr": "192.0.2.9", "fabrics": remote_pb.FabricsPath(**spec)}
    path = remote_pb.NvmePath(**(given | fields))
    found, details = refusal(remote.CreateNvmePath, remote_pb.CreateNvmePathRequest(parent=parent, nvme_path=path))
    assert found is code, details
    assert word in details


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nvmeRemoteControllers/none", grpc.StatusCode.NOT_FOUND),
        ("nvmeRemoteControllers/", grpc.StatusCode.INVALID_ARGUMENT),
        ("nvmeSubsystems/vol-1", grpc.StatusCode.INVALID_ARGUMENT),
        ("../../etc", grpc.StatusCode.INVALID_ARGUMENT),
        ("", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_parent_and_name(remote: Any, name: str, code: grpc.StatusCode) -> None:
    assert refusal(remote.ListNvmePaths, remote_pb.ListNvmePathsRequest(parent=name))[0] is code
    request = remote_pb.GetNvmeRemoteControllerRequest(name=name)
    assert refusal(remote.GetNvmeRemoteController, request)[0] is code


def test_a_controller_and_a_namespace_need_their_subsystem(frontend: Any) -> None:
    pcie = common.PciEndpoint(
        port_id=Int32Value(value=0), physical_function=Int32Value(value=0), virtual_function=Int32Value(value=0)
    )
    spec = pb.NvmeControllerSpec(trtype=common.NVME_TRANSPORT_TYPE_PCIE, pcie_id=pcie)
    request = pb.CreateNvmeControllerRequest(parent="nvmeSubsystems/none", nvme_controller=pb.NvmeController(spec=spec))
    assert refusal(frontend.CreateNvmeController, request)[0] is grpc.StatusCode.NOT_FOUND
    request.nvme_controller.spec.pcie_id.ClearField("virtual_function")
    assert refusal(frontend.CreateNvmeController, request)[0] is grpc.StatusCode.INVALID_ARGUMENT
    namespace = pb.NvmeNamespace(spec=pb.NvmeNamespaceSpec(uuid=UUID_1, volume_name_ref=UUID_1))
    create = pb.CreateNvmeNamespaceRequest(parent="nvmeSubsystems/none", nvme_namespace=namespace)
    assert refusal(frontend.CreateNvmeNamespace, create)[0] is grpc.StatusCode.NOT_FOUND


def test_what_is_not_offered_says_so(frontend: Any, remote: Any, parent: str) -> None:
    for call, request in (
        (remote.ResetNvmeRemoteController, remote_pb.ResetNvmeRemoteControllerRequest(name=parent)),
        (remote.StatsNvmePath, remote_pb.StatsNvmePathRequest(name=f"{parent}/nvmePaths/p")),
        (frontend.StatsNvmeSubsystem, pb.StatsNvmeSubsystemRequest(name="nvmeSubsystems/a")),
    ):
        assert refusal(call, request)[0] is grpc.StatusCode.UNIMPLEMENTED


def test_options_of_a_remote_controller(remote: Any, parent: str) -> None:
    update = remote_pb.UpdateNvmeRemoteControllerRequest(
        nvme_remote_controller=remote_pb.NvmeRemoteController(name=parent, io_queues_count=4)
    )
    assert remote.UpdateNvmeRemoteController(update).io_queues_count == 4
    update.nvme_remote_controller.io_queues_count = -1
    assert refusal(remote.UpdateNvmeRemoteController, update)[0] is grpc.StatusCode.INVALID_ARGUMENT
    update.nvme_remote_controller.io_queues_count = 0
    update.update_mask.paths.append("io_queues_count")
    assert remote.UpdateNvmeRemoteController(update).io_queues_count == 0
    page = remote.ListNvmeRemoteControllers(remote_pb.ListNvmeRemoteControllersRequest())
    assert [controller.name for controller in page.nvme_remote_controllers] == [parent]
