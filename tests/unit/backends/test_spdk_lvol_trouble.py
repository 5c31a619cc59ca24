"""spdk-lvol where SPDK refuses, is raced, or does not do what it was told: decided by state alone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.unit.backends.storage_script import StorageScript
from tests.unit.spdk.scripted_spdk import ScriptedSpdk, Session

from dpucsi import naming
from dpucsi.backends import SizeRange, spdk_lvol
from dpucsi.backends.spdk_lvol import SpdkLvolBackend
from dpucsi.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    ResourceExhaustedError,
    TimedOutError,
    UnavailableError,
)
from dpucsi.testing.backend_conformance import SIZE, Host, everybody, made


@pytest.fixture
def node() -> StorageScript:
    return StorageScript()


@pytest.fixture
async def far(tmp_path: Path, node: StorageScript) -> AsyncIterator[ScriptedSpdk]:
    async with ScriptedSpdk(tmp_path / "spdk.sock", script=node) as far:
        yield far


@pytest.fixture
async def backend(far: ScriptedSpdk) -> AsyncIterator[SpdkLvolBackend]:
    table: dict[str, object] = {"rpc": far.endpoint, "lvstore": "lvs0", "listeners": ["tcp://127.0.0.1:4420"]}
    backend = SpdkLvolBackend.configure("pool-a", table)
    yield backend
    await backend.client.close(grace_s=0)


async def exported(backend: SpdkLvolBackend, node: StorageScript, *hosts: Host) -> UUID:
    """A volume to which each of the hosts is connected."""
    uuid = await made(backend)
    for host in hosts:
        spec = await backend.grant(uuid, host.choose)
        node.sessions.setdefault(spec.subnqn, []).append(spec.hostnqn)
    node.asked.clear()
    return uuid


async def test_a_volume_that_another_controller_made_meanwhile_is_found(
    backend: SpdkLvolBackend, node: StorageScript
) -> None:
    def race(method: str, params: dict[str, Any]) -> None:
        if method == "bdev_lvol_create":
            node.bdev_lvol_create(**params)
            node.refuse.add(method)

    node.meanwhile = race
    assert (await backend.create(uuid4(), SIZE, {})).size_bytes == SIZE.required_bytes


async def test_a_volume_that_another_controller_made_otherwise_is_not_taken(
    backend: SpdkLvolBackend, node: StorageScript
) -> None:
    def race(method: str, params: dict[str, Any]) -> None:
        if method == "bdev_lvol_create":
            node.bdev_lvol_create(**(params | {"thin_provision": False}))
            node.refuse.add(method)

    node.meanwhile = race
    with pytest.raises(AlreadyExistsError, match="thin 'false', wanted 'true'"):
        await backend.create(uuid4(), SIZE, {})


async def test_space_that_ran_out_meanwhile_is_told_from_other_refusals(
    backend: SpdkLvolBackend, node: StorageScript
) -> None:
    def race(method: str, _: dict[str, Any]) -> None:
        if method == "bdev_lvol_create":
            node.free_clusters = 1

    node.refuse.add("bdev_lvol_create")
    with pytest.raises(UnavailableError, match="bdev_lvol_create"):
        await backend.create(uuid4(), SIZE, {"thin": "false"})
    node.meanwhile = race
    with pytest.raises(ResourceExhaustedError, match="are free"):
        await backend.create(uuid4(), SIZE, {"thin": "false"})


async def test_a_connection_lost_while_creating_is_unavailable_and_the_retry_finds_the_volume(
    backend: SpdkLvolBackend, far: ScriptedSpdk, node: StorageScript
) -> None:
    def cut(session: Session, request: dict[str, Any]) -> None:
        if request["method"] == "bdev_lvol_create":
            node.bdev_lvol_create(**request["params"])
            session.close()
        else:
            node(session, request)

    far.script = cut
    uuid = uuid4()
    with pytest.raises(UnavailableError):
        await backend.create(uuid, SIZE, {})
    far.script = node
    await backend.create(uuid, SIZE, {})
    assert len(node.lvols) == 1
    assert "bdev_lvol_create" not in node.asked


async def test_what_somebody_else_exported_meanwhile_is_taken_as_it_is(
    backend: SpdkLvolBackend, node: StorageScript
) -> None:
    def race(method: str, params: dict[str, Any]) -> None:
        if method == "nvmf_create_subsystem" and params["nqn"] not in node.subsystems:
            node.nvmf_create_subsystem(**params)

    node.meanwhile = race
    uuid, host = await made(backend), Host()
    spec = await backend.grant(uuid, host.choose)
    assert node.subsystems[spec.subnqn]["hosts"] == [{"nqn": spec.hostnqn}]


async def test_a_generation_chosen_in_a_failed_attempt_is_the_one_that_stays(
    backend: SpdkLvolBackend, node: StorageScript
) -> None:
    node.refuse.add("nvmf_subsystem_add_listener")
    uuid, host = await made(backend), Host()
    with pytest.raises(UnavailableError, match=r"still lacks listener TCP 127\.0\.0\.1 4420"):
        await backend.grant(uuid, host.choose)
    node.refuse.clear()
    spec = await backend.grant(uuid, host.choose)
    assert node.subsystems[spec.subnqn]["hosts"] == [{"nqn": spec.hostnqn}]


async def test_a_session_that_will_not_end_is_never_a_success(
    backend: SpdkLvolBackend, node: StorageScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spdk_lvol, "FENCE_S", 0.1)
    stays, goes = Host(), Host()
    uuid = await exported(backend, node, stays, goes)
    node.loyal = True
    with pytest.raises(TimedOutError, match=f"{uuid}: the end of its revoked hosts' sessions"):
        await backend.revoke(uuid, goes.owns)
    volume = await backend.get(uuid)
    assert [stays.owns(nqn) for nqn in volume.hosts] == [True]
    assert [goes.owns(nqn) for nqn in volume.leaving] == [True]
    with pytest.raises(TimedOutError):  # nor the next time, when the allow-list has nothing of it
        await backend.revoke(uuid, goes.owns)
    assert not any(goes.owns(nqn) for nqn in (await backend.get(uuid)).hosts)
    node.loyal = False
    await backend.revoke(uuid, goes.owns)  # cuts off the session that has no permission to take away
    volume = await backend.get(uuid)
    assert ([stays.owns(nqn) for nqn in volume.hosts], volume.leaving) == ([True], ())


async def test_a_subsystem_that_will_not_go_is_never_a_success(backend: SpdkLvolBackend, node: StorageScript) -> None:
    uuid = await exported(backend, node, Host())
    node.refuse.add("nvmf_delete_subsystem")
    with pytest.raises(UnavailableError, match="could not be taken from its hosts"):
        await backend.revoke(uuid, everybody)


async def test_a_volume_with_a_session_left_is_not_deleted(backend: SpdkLvolBackend, node: StorageScript) -> None:
    uuid = await exported(backend, node, Host())
    subsystem = node.subsystems[naming.subnqn(uuid)]
    subsystem["hosts"].clear()
    with pytest.raises(FailedPreconditionError, match="still published"):
        await backend.delete(uuid)
    assert "bdev_lvol_delete" not in node.asked


async def test_a_fence_needs_no_store(backend: SpdkLvolBackend, node: StorageScript) -> None:
    uuid = await exported(backend, node, Host())
    node.refuse.add("bdev_lvol_get_lvstores")
    await backend.revoke(uuid, everybody)
    assert node.subsystems == {}


async def test_nonsense_from_spdk_is_unavailable(backend: SpdkLvolBackend, far: ScriptedSpdk) -> None:
    far.script = lambda session, request: session.answer(request, {"what": "?"})
    with pytest.raises(UnavailableError):
        await backend.create(uuid4(), SizeRange(), {})
