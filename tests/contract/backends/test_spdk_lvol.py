"""spdk-lvol passes the conformance suite on every SPDK, and keeps its own promises."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from tests.contract.backends.spdk_processes import KINDS, LVSTORE, Initiators, Spdk

from dpucsi import naming
from dpucsi.aio import limit, wait_until
from dpucsi.backends import SizeRange
from dpucsi.backends.spdk_lvol import SpdkLvolBackend
from dpucsi.errors import (
    AlreadyExistsError,
    DpucsiError,
    FailedPreconditionError,
    ResourceExhaustedError,
    UnavailableError,
)
from dpucsi.spdk import SpdkClient, Trace, bdev, nvmf
from dpucsi.spdk.lvol import bdev_lvol_get_lvstores
from dpucsi.testing.backend_conformance import MIB, SIZE, BackendConformance, Host, everybody, made
from dpucsi.testing.ports import free_port

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="lvol") as path:  # short: it holds unix sockets
        yield Path(path)


@pytest.fixture(scope="module")
def storage(kind: str, folder: Path) -> Iterator[Spdk]:
    (folder / kind).mkdir()
    spdk = Spdk(kind, folder / kind, "storage")

    async def up() -> None:
        await spdk.start()
        await spdk.load_store()

    try:
        asyncio.run(up())
        yield spdk
    finally:
        spdk.process.kill()


@pytest.fixture(scope="module")
def dpus(kind: str, folder: Path, storage: Spdk) -> Iterator[list[Spdk]]:
    spdks = [Spdk(kind, folder / kind, name) for name in ("dpu0", "dpu1")]
    try:
        for spdk in spdks:
            asyncio.run(spdk.start())
        yield spdks
    finally:
        for spdk in spdks:
            spdk.process.kill()


@pytest.fixture(scope="module")
def table(storage: Spdk) -> dict[str, object]:
    return {"rpc": storage.rpc, "lvstore": LVSTORE, "listeners": [f"tcp://127.0.0.1:{free_port()}"]}


@pytest.fixture
async def storage_backend(table: dict[str, object]) -> AsyncIterator[SpdkLvolBackend]:
    backend = SpdkLvolBackend.configure("pool-a", table)
    yield backend
    await backend.close()


@pytest.fixture
async def initiator(dpus: list[Spdk]) -> AsyncIterator[Initiators]:
    initiators = Initiators(dpus)
    yield initiators
    await initiators.disconnect_all()


class TestSpdkLvol(BackendConformance):
    pass


async def test_thick_volumes_take_their_space(storage_backend: SpdkLvolBackend) -> None:
    uuid = uuid4()
    volume = await storage_backend.create(uuid, SIZE, {"thin": "false"})
    assert volume.parameters == {"thin": "false"}
    with pytest.raises(AlreadyExistsError, match="thin"):
        await storage_backend.create(uuid, SIZE, {"thin": "true"})
    (store,) = await bdev_lvol_get_lvstores(storage_backend.client, lvs_name=LVSTORE)
    with pytest.raises(ResourceExhaustedError):
        await storage_backend.create(uuid4(), SizeRange(store.free_bytes + 1), {"thin": "false"})


async def test_rounds(storage_backend: SpdkLvolBackend) -> None:
    trace, uuid, one, two = Trace(), uuid4(), Host(), Host()
    await made(storage_backend)
    await storage_backend.grant(await made(storage_backend), Host().choose)  # the transport is there from now on

    async def rounds(work: object) -> int:
        before = trace.rounds
        await work  # type: ignore[misc]
        return trace.rounds - before

    storage_backend.client.trace = trace
    assert await rounds(storage_backend.create(uuid, SIZE, {})) <= 2
    assert await rounds(storage_backend.grant(uuid, one.choose)) <= 2
    assert await rounds(storage_backend.grant(uuid, two.choose)) <= 2
    assert await rounds(storage_backend.grant(uuid, two.choose)) == 1
    assert await rounds(storage_backend.revoke(uuid, everybody)) <= 2
    assert await rounds(storage_backend.delete(uuid)) <= 2


async def test_the_target_has_the_volumes_identity(storage_backend: SpdkLvolBackend) -> None:
    uuid = await made(storage_backend)
    spec = await storage_backend.grant(uuid, Host().choose)
    subsystem = await nvmf.find_subsystem(storage_backend.client, spec.subnqn)
    assert subsystem is not None
    (namespace,) = subsystem.namespaces
    assert (namespace.nsid, namespace.uuid, namespace.nguid) == (1, str(uuid), naming.nguid(uuid))
    assert (subsystem.serial_number, subsystem.allow_any_host) == (naming.serial(uuid), False)


async def test_the_last_revoke_and_delete_leave_nothing(storage_backend: SpdkLvolBackend) -> None:
    client = storage_backend.client
    await storage_backend.grant(await made(storage_backend), Host().choose)  # makes the transport and the listener
    before = await nvmf.nvmf_get_subsystems(client), await bdev.bdev_get_bdevs(client)
    uuid = await made(storage_backend)
    await storage_backend.grant(uuid, Host().choose)
    await storage_backend.revoke(uuid, everybody)
    await storage_backend.delete(uuid)
    assert (await nvmf.nvmf_get_subsystems(client), await bdev.bdev_get_bdevs(client)) == before


@pytest.mark.parametrize("lacks", ["namespace", "listener", "all but the subsystem"])
async def test_grant_brings_back_what_an_export_lacks(storage_backend: SpdkLvolBackend, lacks: str) -> None:
    client, uuid, host = storage_backend.client, await made(storage_backend), Host()
    spec = await storage_backend.grant(uuid, host.choose)
    whole = await nvmf.find_subsystem(client, spec.subnqn)
    assert whole is not None
    if lacks == "namespace":
        await nvmf.nvmf_subsystem_remove_ns(client, nqn=spec.subnqn, nsid=1)
    elif lacks == "listener":
        await nvmf.nvmf_subsystem_remove_listener(client, nqn=spec.subnqn, address=whole.listen_addresses[0])
    else:
        await nvmf.nvmf_delete_subsystem(client, nqn=spec.subnqn)
        await nvmf.nvmf_create_subsystem(client, nqn=spec.subnqn, serial_number=naming.serial(uuid), max_namespaces=1)
    again = await storage_backend.grant(uuid, host.choose)
    mended = await nvmf.find_subsystem(client, spec.subnqn)
    assert mended is not None
    assert (mended.namespaces, mended.listen_addresses) == (whole.namespaces, whole.listen_addresses)
    assert mended.hosts == (again.hostnqn,)


async def test_a_subsystem_left_over_without_hosts_goes_with_the_volume(storage_backend: SpdkLvolBackend) -> None:
    client, uuid = storage_backend.client, await made(storage_backend)
    spec = await storage_backend.grant(uuid, Host().choose)
    await nvmf.nvmf_subsystem_remove_host(client, nqn=spec.subnqn, host=spec.hostnqn)
    await storage_backend.delete(uuid)
    assert await nvmf.find_subsystem(client, spec.subnqn) is None


async def test_a_subsystem_that_is_not_ours_is_left_alone(storage_backend: SpdkLvolBackend) -> None:
    client, uuid = storage_backend.client, await made(storage_backend)
    nqn = naming.subnqn(uuid)
    await nvmf.nvmf_create_subsystem(client, nqn=nqn, serial_number="OTHER")
    before = await nvmf.find_subsystem(client, nqn)
    with pytest.raises(FailedPreconditionError, match="OTHER"):
        await storage_backend.grant(uuid, Host().choose)
    assert await nvmf.find_subsystem(client, nqn) == before
    await nvmf.nvmf_delete_subsystem(client, nqn=nqn)


async def test_an_address_that_is_not_local_is_an_error_with_words(table: dict[str, object]) -> None:
    backend = SpdkLvolBackend.configure("pool-a", {**table, "listeners": ["tcp://192.0.2.1:4420"]})
    uuid = await made(backend)
    with pytest.raises(UnavailableError, match=r"lacks listener TCP 192\.0\.2\.1 4420: .*nvmf_subsystem_add_listener"):
        await backend.grant(uuid, Host().choose)
    await backend.revoke(uuid, everybody)
    await backend.delete(uuid)
    await backend.close()


async def test_without_its_store_nothing_is_taken_for_gone(table: dict[str, object]) -> None:
    backend = SpdkLvolBackend.configure("pool-a", {**table, "lvstore": "not-loaded"})
    with pytest.raises(UnavailableError, match="not-loaded"):
        await backend.delete(uuid4())
    with pytest.raises(UnavailableError, match="not-loaded"):
        await backend.get(uuid4())
    await backend.revoke(uuid4(), everybody)  # needs the target only
    await backend.close()


async def test_after_a_kill_publishing_again_brings_the_export_back(
    storage: Spdk, storage_backend: SpdkLvolBackend, initiator: Initiators
) -> None:
    uuid, host = await made(storage_backend), Host()
    old = await storage_backend.grant(uuid, host.choose)
    storage.process.kill()
    with pytest.raises(DpucsiError), limit(1.0):
        await storage_backend.get(uuid)
    await storage.start()
    with pytest.raises(UnavailableError):
        await storage_backend.delete(uuid)  # its store is not loaded yet: nothing may be said
    await storage.load_store()
    assert (await storage_backend.get(uuid)).hosts == ()
    new = await storage_backend.grant(uuid, host.choose)
    assert new.hostnqn != old.hostnqn
    await initiator.connect(new)
    async with SpdkClient(initiator.spdks[0].rpc) as client:
        assert str(uuid) in {one.uuid for one in await bdev.bdev_get_bdevs(client)}
    assert new.size_bytes == 64 * MIB


async def test_after_a_kill_the_recorded_host_nqn_is_let_in_again(
    storage: Spdk, storage_backend: SpdkLvolBackend, initiator: Initiators
) -> None:
    """What csi-controller does with a VolumeAttachment: the DPU, which knows nothing of it, connects again."""
    uuid = await made(storage_backend)
    recorded = await storage_backend.grant(uuid, Host().choose)
    await initiator.connect(recorded)
    instance = await storage_backend.new_instance()
    waiting = asyncio.create_task(storage_backend.new_instance(instance))
    storage.process.kill()
    await storage.start()
    assert await asyncio.wait_for(waiting, 10) != instance
    with pytest.raises(UnavailableError):
        await storage_backend.list_volumes()  # rather than leave out what is not loaded yet
    with pytest.raises(UnavailableError):
        await storage_backend.grant(uuid, lambda _: recorded.hostnqn)
    await storage.load_store()
    assert await storage_backend.grant(uuid, lambda _: recorded.hostnqn) == recorded

    async def connected() -> bool | None:
        return await initiator.connected(recorded) or None

    await wait_until(connected, "the DPU connects again", timeout_s=20)
