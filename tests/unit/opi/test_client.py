"""The typed client over a fake OPI server: any spelling of names, busy, other content, other people's objects."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2, frontend_nvme_pb2
from dpucsi.errors import BusyError, FailedPreconditionError, NotFoundError, UnavailableError
from dpucsi.model import AttachSpec, HostFunction, TargetPath
from dpucsi.opi import OpiClient, frontend, remote
from dpucsi.rpc import Endpoint
from dpucsi.testing.fake_opi import FakeOpi

UUID_ = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
PATH = TargetPath("192.0.2.1", "4420")
SPEC = AttachSpec(UUID_, naming.subnqn(UUID_), "nqn.2024-01.org:host", (PATH,))
FUNCTION = HostFunction(0, 0)


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeOpi]:
    fake = FakeOpi(tmp_path / "opi.sock")
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def opi(fake: FakeOpi) -> AsyncIterator[OpiClient]:
    client = OpiClient(Endpoint.parse(f"unix://{fake.path}"))
    yield client
    await client.close()


async def test_ensure_and_remove_may_be_repeated(fake: FakeOpi, opi: OpiClient) -> None:
    for _ in range(2):
        controller = await remote.ensure_remote_controller(opi, UUID_)
        await remote.ensure_path(opi, controller, SPEC, PATH)
    assert len(fake.objects) == 2
    for _ in range(2):
        await remote.remove_path(opi, UUID_, PATH)
        await remote.remove_remote_controller(opi, UUID_)
    assert fake.objects == {}


async def test_another_client_finds_and_removes_the_same_objects(fake: FakeOpi, opi: OpiClient) -> None:
    spec = frontend_nvme_pb2.NvmeSubsystemSpec(nqn="nqn.2024-01.org:a")
    subsystem = await frontend.ensure_subsystem(opi, FUNCTION, spec)
    await frontend.ensure_controller(opi, subsystem, FUNCTION)
    await frontend.ensure_namespace(opi, subsystem, UUID_, 3, "volumes/a")
    other = OpiClient(Endpoint.parse(f"unix://{fake.path}"))
    await frontend.remove_namespace(other, FUNCTION, UUID_)
    await frontend.remove_controller(other, FUNCTION)
    await frontend.remove_subsystem(other, FUNCTION)
    await other.close()
    assert fake.objects == {}


async def test_the_name_is_what_the_server_returns(fake: FakeOpi, opi: OpiClient) -> None:
    name = f"nvmeRemoteControllers/elsewhere/{naming.opi_remote_controller(UUID_)}"
    there = backend_nvme_pb2.NvmeRemoteController(name=name, multipath=backend_nvme_pb2.NVME_MULTIPATH_MULTIPATH)
    fake.objects[name] = there
    fake.listed = lambda kind, request: backend_nvme_pb2.ListNvmeRemoteControllersResponse(  # type: ignore[method-assign]
        nvme_remote_controllers=[there]
    )
    await fake.stop()
    await fake.start()
    await opi.channel.channel_ready()
    await remote.remove_remote_controller(opi, UUID_)
    assert fake.objects == {}


async def test_other_content_is_refused_by_name(fake: FakeOpi, opi: OpiClient) -> None:
    name = f"nvmeRemoteControllers/{naming.opi_remote_controller(UUID_)}"
    fake.objects[name] = backend_nvme_pb2.NvmeRemoteController(
        name=name, multipath=backend_nvme_pb2.NVME_MULTIPATH_DISABLE
    )
    with pytest.raises(FailedPreconditionError, match="multipath is NVME_MULTIPATH_DISABLE"):
        await remote.ensure_remote_controller(opi, UUID_)


async def test_content_that_differs_only_where_nothing_was_asked_is_fine(fake: FakeOpi, opi: OpiClient) -> None:
    name = f"nvmeRemoteControllers/{naming.opi_remote_controller(UUID_)}"
    fake.objects[name] = backend_nvme_pb2.NvmeRemoteController(
        name=name, multipath=backend_nvme_pb2.NVME_MULTIPATH_MULTIPATH, io_queues_count=4
    )
    assert await remote.ensure_remote_controller(opi, UUID_) == name


async def test_a_busy_server_is_waited_for(fake: FakeOpi, opi: OpiClient) -> None:
    resource_id = naming.opi_remote_controller(UUID_)
    fake.refused[resource_id] = BusyError("an earlier call still runs")
    asking = asyncio.create_task(remote.ensure_remote_controller(opi, UUID_))

    async def asked_twice() -> bool | None:
        return fake.calls.count("CreateNvmeRemoteController") >= 2 or None

    await wait_until(asked_twice, "a second try", timeout_s=5)
    fake.refused.clear()
    assert await asking == f"nvmeRemoteControllers/{resource_id}"


async def test_a_namespace_is_found_by_uuid_only(fake: FakeOpi, opi: OpiClient, monkeypatch) -> None:
    monkeypatch.setattr(remote, "NAMESPACE_S", 0.05)
    controller = await remote.ensure_remote_controller(opi, UUID_)
    with pytest.raises(UnavailableError, match="none at all"):
        await remote.wait_remote_namespace(opi, controller, UUID_)
    await remote.ensure_path(opi, controller, SPEC, PATH)
    assert await remote.wait_remote_namespace(opi, controller, UUID_) == f"{controller}/nvmeRemoteNamespaces/1"


async def test_lists_are_read_to_their_last_page(fake: FakeOpi, opi: OpiClient) -> None:
    for number in range(5):
        await remote.ensure_remote_controller(opi, UUID(int=number))
    assert len(await remote.list_remote_controllers(opi)) == 5


async def test_a_child_without_its_parent(opi: OpiClient) -> None:
    with pytest.raises(NotFoundError):
        await remote.ensure_path(opi, "nvmeRemoteControllers/none", SPEC, PATH)
    await remote.remove_path(opi, UUID_, PATH)
    await frontend.remove_namespace(opi, FUNCTION, UUID_)
