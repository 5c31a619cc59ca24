"""One volume over the bridge and back, and what it costs in rounds."""

import grpc
import pytest
from tests.contract.opi_bridge.bench import (
    SUBNQN,
    Bench,
    namespace_request,
    remote_controller_request,
    subsystem_request,
    volume,
)

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as remote_pb
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as frontend_pb
from dpucsi.spdk import Trace
from dpucsi.spdk.bdev import find_bdev
from dpucsi.spdk.nvme import bdev_nvme_get_controllers
from dpucsi.spdk.nvmf import find_subsystem

NAMESPACE = f"nvmeSubsystems/host/nvmeNamespaces/vol-{volume(1)}"


async def test_volume_comes_and_goes(bench: Bench) -> None:
    await bench.export(1)
    subsystem = await bench.create_function()
    await bench.attach(1)
    seen = await bench.function_is(1)
    assert (seen.serial_number, seen.model_number, seen.max_namespaces) == ("SERIAL1", "model", 250)
    namespace = await bench.frontend.GetNvmeNamespace(frontend_pb.GetNvmeNamespaceRequest(name=NAMESPACE))
    assert namespace.status.oper_state == frontend_pb.NvmeNamespaceStatus.OPER_STATE_ONLINE
    controllers = await bench.frontend.ListNvmeControllers(frontend_pb.ListNvmeControllersRequest(parent=subsystem))
    assert [controller.status.active for controller in controllers.nvme_controllers] == [True]
    listed = await bench.remote.ListNvmeRemoteNamespaces(
        remote_pb.ListNvmeRemoteNamespacesRequest(parent=f"nvmeRemoteControllers/vol-{volume(1)}")
    )
    assert [(n.nsid, n.uuid) for n in listed.nvme_remote_namespaces] == [(1, str(volume(1)))]

    await bench.detach(1)
    for controller in controllers.nvme_controllers:
        await bench.frontend.DeleteNvmeController(frontend_pb.DeleteNvmeControllerRequest(name=controller.name))
    await bench.frontend.DeleteNvmeSubsystem(frontend_pb.DeleteNvmeSubsystemRequest(name=subsystem))
    assert await find_subsystem(bench.dpu, SUBNQN) is None
    assert await bdev_nvme_get_controllers(bench.dpu) == ()
    assert await find_bdev(bench.dpu, str(volume(1))) is None


@pytest.mark.parametrize("driver_name", ["nvmf-tcp"], indirect=True)
async def test_rounds(bench: Bench) -> None:
    await bench.export(1)
    await bench.create_function()
    bench.bridge.client.trace = attach = Trace()
    await bench.attach(1)
    assert attach.rounds <= 4, attach.calls
    bench.bridge.client.trace = again = Trace()
    await bench.attach(1)
    assert again.rounds == 0, again.calls
    bench.bridge.client.trace = detach = Trace()
    await bench.detach(1)
    assert detach.rounds <= 2, detach.calls


@pytest.mark.parametrize("driver_name", ["nvmf-tcp"], indirect=True)
async def test_host_that_is_not_allowed(bench: Bench) -> None:
    """The attach is refused; nothing is left of it, and the same call succeeds once the host is allowed."""
    await bench.export(1, hosts=())
    await bench.remote.CreateNvmeRemoteController(remote_controller_request(1))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.remote.CreateNvmePath(bench.path_request(1))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    listed = await bench.remote.ListNvmePaths(
        remote_pb.ListNvmePathsRequest(parent=f"nvmeRemoteControllers/vol-{volume(1)}")
    )
    assert not listed.nvme_paths
    assert await bdev_nvme_get_controllers(bench.dpu) == ()


@pytest.mark.parametrize("driver_name", ["nvmf-tcp"], indirect=True)
async def test_bdev_of_another_uuid_is_never_shown(bench: Bench) -> None:
    await bench.export(1)
    await bench.create_function()
    await bench.remote.CreateNvmeRemoteController(remote_controller_request(1))
    await bench.remote.CreateNvmePath(bench.path_request(1))
    request = namespace_request(1, 1)
    other = str(volume(2))
    request.nvme_namespace.spec.uuid = other
    request.nvme_namespace.spec.volume_name_ref = f"nvmeRemoteControllers/vol-{volume(1)}/nvmeRemoteNamespaces/1"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.frontend.CreateNvmeNamespace(request)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    seen = await find_subsystem(bench.dpu, SUBNQN)
    assert seen is not None
    assert seen.namespaces == ()


@pytest.mark.parametrize("driver_name", ["nvmf-tcp"], indirect=True)
async def test_what_is_used_stays(bench: Bench) -> None:
    await bench.export(1)
    await bench.create_function()
    await bench.attach(1)
    controller = f"nvmeRemoteControllers/vol-{volume(1)}"
    with pytest.raises(grpc.aio.AioRpcError) as last_path:
        await bench.remote.DeleteNvmePath(remote_pb.DeleteNvmePathRequest(name=f"{controller}/nvmePaths/path-1"))
    with pytest.raises(grpc.aio.AioRpcError) as parent:
        await bench.frontend.DeleteNvmeSubsystem(frontend_pb.DeleteNvmeSubsystemRequest(name="nvmeSubsystems/host"))
    for refused in (last_path, parent):
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert f"vol-{volume(1)}" in (refused.value.details() or "")


@pytest.mark.parametrize("driver_name", ["nvmf-tcp"], indirect=True)
async def test_subsystem_of_somebody_else(bench: Bench) -> None:
    """The same NQN with another serial number: refused, and left alone by the delete."""
    await bench.frontend.CreateNvmeSubsystem(subsystem_request())
    request = subsystem_request()
    request.nvme_subsystem_id = "other"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.frontend.CreateNvmeSubsystem(request)
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "nvmeSubsystems/host" in (refused.value.details() or "")
