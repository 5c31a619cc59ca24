"""SPDK, the bridge or the target dies; what was wanted comes back as it was."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from tests.contract.opi_bridge.bench import (
    ADDRESSES,
    Bench,
    namespace_request,
    remote_controller_request,
    volume,
)

from dpucsi.aio import wait_until
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as remote_pb
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as frontend_pb
from dpucsi.errors import ResourceExhaustedError, UnavailableError
from dpucsi.naming import subnqn
from dpucsi.spdk import Trace
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.client import WINDOW
from dpucsi.spdk.nvme import ENABLED, bdev_nvme_attach_controller, bdev_nvme_get_controllers
from dpucsi.spdk.nvmf import nvmf_delete_subsystem, nvmf_subsystem_remove_ns
from opi_bridge.kinds.nvme_subsystem import SubsystemKind

MANY = {"emulator": 200, "real": 40}  # a spdk_tgt with 1 GiB has no memory for the queues of more
tcp_only = pytest.mark.parametrize("driver_name", ["nvmf-tcp"], indirect=True)


async def test_spdk_is_killed(bench: Bench) -> None:
    """The same nsids, uuids, serial; on the same function. The emulated and vfio-user drivers clear what is stale."""
    for number in (1, 2):
        await bench.export(number)
    await bench.create_function()
    for number in (1, 2):
        await bench.attach(number)
    before = await bench.function_is(1, 2)
    bench.dpu_process.kill()
    bench.dpu_process.start()
    assert await bench.function_is(1, 2) == before
    await bench.detach(1)
    await bench.function_is(2)


@tcp_only
async def test_bridge_is_restarted(bench: Bench) -> None:
    """It takes over what is there, and a detach after that costs a look more."""
    await bench.export(1)
    await bench.create_function()
    await bench.attach(1)
    before = await bench.function_is(1)
    await bench.stop_bridge()
    await bench.start_bridge()
    await bench.attach(1)
    assert await bench.function_is(1) == before
    await bench.detach(1)
    await bench.function_is()


@tcp_only
async def test_both_are_restarted(bench: Bench) -> None:
    await bench.export(1)
    await bench.create_function()
    await bench.attach(1)
    await bench.stop_bridge()
    bench.dpu_process.kill()
    bench.dpu_process.start()
    await bench.start_bridge()
    await bench.function_is(1)


@tcp_only
async def test_namespace_that_was_removed_behind_our_back_returns(bench: Bench) -> None:
    await bench.export(1)
    await bench.create_function()
    await bench.attach(1)
    seen = await bench.function_is(1)
    await nvmf_subsystem_remove_ns(bench.dpu, nqn=seen.nqn, nsid=1)
    assert await bench.function_is(1) == seen


@tcp_only
async def test_calls_during_a_replay(bench: Bench) -> None:
    """A repeated create, a new volume and a delete, all while SPDK comes back: each has its effect once."""
    for number in (1, 2, 3):
        await bench.export(number)
    await bench.create_function()
    await bench.attach(1)
    await bench.attach(2)
    bench.dpu_process.kill()
    bench.dpu_process.start()
    await asyncio.gather(
        *(retried(lambda number=number: bench.attach(number)) for number in (1, 3)), retried(lambda: bench.detach(2))
    )
    await bench.function_is(1, 3)
    controllers = await bdev_nvme_get_controllers(bench.dpu)
    assert sorted((c.name, len(c.paths)) for c in controllers) == sorted((f"vol-{volume(n)}", 1) for n in (1, 3))


@tcp_only
async def test_a_namespace_is_unavailable_until_its_subsystem_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its path is back sooner, so SPDK would refuse for want of a subsystem; a retry is what helps."""
    await bench.export(1)
    await bench.create_function()
    await bench.remote.CreateNvmeRemoteController(remote_controller_request(1))
    await bench.remote.CreateNvmePath(bench.path_request(1))
    may_go_on, make = asyncio.Event(), SubsystemKind.make

    async def refused(*args: Any) -> None:
        if not may_go_on.is_set():
            raise ResourceExhaustedError("no room for a subsystem")
        await make(*args)

    monkeypatch.setattr(SubsystemKind, "make", refused)
    bench.dpu_process.kill()
    bench.dpu_process.start()

    async def path_is_back() -> bool | None:
        controllers = await bdev_nvme_get_controllers(bench.dpu)
        return any(path.state == ENABLED for controller in controllers for path in controller.paths) or None

    async def tells_why() -> bool | None:
        with pytest.raises(grpc.aio.AioRpcError, match="no nvmeSubsystems/host now") as failed:
            await bench.frontend.CreateNvmeNamespace(namespace_request(1, 1))
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        return "now (no room for a subsystem)" in str(failed.value.details()) or None

    await wait_until(lambda: unless_away(path_is_back), "the path", timeout_s=30)
    await wait_until(tells_why, "a refusal that tells what keeps the subsystem away", timeout_s=30)
    may_go_on.set()
    await retried(lambda: bench.frontend.CreateNvmeNamespace(namespace_request(1, 1)))
    await bench.function_is(1)


@tcp_only
async def test_dead_target_keeps_nobody_else_away(bench: Bench) -> None:
    """Two volumes on one function, one without a target any more: the other one returns, the status tells."""
    await bench.export(1)
    await bench.export(2)
    await bench.create_function()
    await bench.attach(1)
    await bench.attach(2)
    bench.dpu_process.kill()
    await nvmf_delete_subsystem(bench.storage, nqn=subnqn(volume(2)))
    bench.dpu_process.start()
    await bench.function_is(1)
    name = f"nvmeSubsystems/host/nvmeNamespaces/vol-{volume(2)}"
    namespace = await bench.frontend.GetNvmeNamespace(frontend_pb.GetNvmeNamespaceRequest(name=name))
    assert namespace.status.oper_state == frontend_pb.NvmeNamespaceStatus.OPER_STATE_OFFLINE


@tcp_only
async def test_all_paths_come_back(bench: Bench) -> None:
    """Made at once and brought back at once: one remote controller with both; one may go while the volume is in use."""
    await bench.export(1)
    await bench.create_function()
    await bench.remote.CreateNvmeRemoteController(remote_controller_request(1))
    second = bench.path_request(1, traddr=ADDRESSES[1], path_id="path-2")
    await asyncio.gather(bench.remote.CreateNvmePath(bench.path_request(1)), bench.remote.CreateNvmePath(second))
    await bench.attach(1)
    await bench.function_is(1)
    bench.dpu_process.kill()
    bench.dpu_process.start()

    async def both() -> bool | None:
        with contextlib.suppress(UnavailableError):
            found = await bdev_nvme_get_controllers(bench.dpu)
            return [sorted(p.address.traddr for p in c.paths) for c in found] == [list(ADDRESSES)] or None
        return None

    await wait_until(both, "both paths", timeout_s=30.0)
    await bench.function_is(1)
    name = f"nvmeRemoteControllers/vol-{volume(1)}/nvmePaths/path-2"
    await bench.remote.DeleteNvmePath(remote_pb.DeleteNvmePathRequest(name=name))
    await bench.function_is(1)
    await bench.detach(1)
    assert await bdev_nvme_get_controllers(bench.dpu) == ()


@tcp_only
async def test_path_of_somebody_else_is_neither_taken_nor_removed(bench: Bench) -> None:
    await bench.export(1)
    await bench.remote.CreateNvmeRemoteController(remote_controller_request(1))
    request = bench.path_request(1)
    fabrics = request.nvme_path.fabrics
    await bench.export(2)
    await bdev_nvme_attach_controller(
        bench.dpu,
        name=f"vol-{volume(1)}",
        address=TransportAddress("TCP", "127.0.0.1", str(fabrics.trsvcid), "IPv4"),
        subnqn=subnqn(volume(2)),
        hostnqn=fabrics.hostnqn,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.remote.CreateNvmePath(request)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert len(await bdev_nvme_get_controllers(bench.dpu)) == 1


@tcp_only
@pytest.mark.timeout(300)
async def test_many_come_back_together(bench: Bench, kind: str) -> None:
    """All are sent before the first is answered, as many as may be in flight; none is asked for or looked at twice."""
    many = MANY[kind]
    numbers = range(1, many + 1)
    await bench.create_function()
    for first in range(1, many + 1, 20):
        await asyncio.gather(*(bench.export(number) for number in range(first, first + 20)))
        await asyncio.gather(*(bench.attach(number) for number in range(first, first + 20)))
    before = await bench.function_is(*numbers)
    bench.bridge.client.trace = replay = Trace()
    bench.dpu_process.kill()
    bench.dpu_process.start()
    assert (await bench.function_is(*numbers, timeout_s=120)).namespaces == before.namespaces
    attaches = [call for call in replay.calls if call.method == "bdev_nvme_attach_controller"]
    assert len(attaches) == many
    together = [call for call in attaches if call.round == attaches[0].round]
    assert len(together) == min(many, WINDOW), f"{len(together)} attaches before the first answer"
    assert len(replay.calls) < 4 * many


async def unless_away(look: Callable[[], Awaitable[bool | None]]) -> bool | None:
    """What `look` says; None while SPDK, which the test has killed, is away."""
    try:
        return await look()
    except UnavailableError:
        return None


async def retried(act: object) -> None:
    """As a client does: again after UNAVAILABLE and ABORTED."""

    async def once() -> bool | None:
        try:
            await act()  # type: ignore[operator]
        except grpc.aio.AioRpcError as failed:
            if failed.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND):
                raise
            return True if failed.code() is grpc.StatusCode.NOT_FOUND else None
        return True

    await wait_until(once, "a call that is repeated", timeout_s=60.0)
