"""What every storage backend has to pass. Inherit the class in a test module, give it the two fixtures:

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        async def storage_backend(self): ...   # configured, its storage running and empty
        @pytest.fixture
        async def initiator(self): ...         # what connects to it, see Initiator

It needs pytest and pytest-asyncio in its auto mode. Volumes that a test makes have fresh uuids and are left behind.
"""
# ruff: noqa: D102 - a test's name says what it proves

import asyncio
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.backends import SizeRange, StorageBackend, Volume
from dpucsi.csi import publish_context
from dpucsi.errors import (
    AlreadyExistsError,
    DpucsiError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    ResourceExhaustedError,
)
from dpucsi.model import AttachSpec

MIB = 1024 * 1024
SIZE = SizeRange(64 * MIB)


class Initiator(Protocol):
    """An NVMe-oF initiator, as a DPU has one; it keeps trying when it is cut off, as a DPU does."""

    async def connect(self, spec: AttachSpec) -> None:
        """Returns when connected; raises any DpucsiError where the target refuses."""
        ...

    async def connected(self, spec: AttachSpec) -> bool:
        """Whether the session works now."""
        ...


class Host:
    """One DPU that wants a volume, deciding as csi-controller does."""

    def __init__(self) -> None:
        self.dpu = uuid4()

    def choose(self, volume: Volume) -> str:
        """The host NQN that it has, else a new one."""
        mine = [nqn for nqn in volume.hosts if self.owns(nqn)]
        return mine[0] if mine else naming.hostnqn(self.dpu, naming.new_generation())

    def owns(self, nqn: str) -> bool:
        """In any generation."""
        return naming.dpu_of_hostnqn(nqn) == self.dpu


def everybody(_: str) -> bool:
    """For a revoke that spares nobody."""
    return True


async def made(backend: StorageBackend) -> UUID:
    """A fresh volume."""
    return (await backend.create(uuid4(), SIZE, {})).uuid


class BackendConformance:
    """The suite."""

    # create, get, delete

    async def test_create_makes_what_was_asked_for(self, storage_backend: StorageBackend) -> None:
        uuid = uuid4()
        volume = await storage_backend.create(uuid, SIZE, {})
        assert volume.uuid == uuid
        assert volume.size_bytes in SIZE
        assert (volume.hosts, volume.leaving) == ((), ())
        assert await storage_backend.get(uuid) == volume

    async def test_create_again_finds_the_same_volume(self, storage_backend: StorageBackend) -> None:
        uuid = uuid4()
        volume = await storage_backend.create(uuid, SIZE, {})
        assert await storage_backend.create(uuid, SIZE, {}) == volume
        assert await storage_backend.create(uuid, SizeRange(1, volume.size_bytes), {}) == volume
        assert await storage_backend.create(uuid, SizeRange(), {}) == volume

    @pytest.mark.parametrize("other", [SizeRange(256 * MIB), SizeRange(16 * MIB, 32 * MIB)])
    async def test_create_again_with_another_size_is_refused(
        self, storage_backend: StorageBackend, other: SizeRange
    ) -> None:
        uuid = uuid4()
        volume = await storage_backend.create(uuid, SizeRange(64 * MIB, 128 * MIB), {})
        with pytest.raises(AlreadyExistsError, match=str(volume.size_bytes)):
            await storage_backend.create(uuid, other, {})
        assert await storage_backend.get(uuid) == volume

    async def test_create_without_a_size_uses_the_default(self, storage_backend: StorageBackend) -> None:
        assert (await storage_backend.create(uuid4(), SizeRange(), {})).size_bytes > 0

    async def test_create_keeps_to_the_limit(self, storage_backend: StorageBackend) -> None:
        size = SizeRange(0, 64 * MIB)
        assert (await storage_backend.create(uuid4(), size, {})).size_bytes in size

    @pytest.mark.parametrize("size", [SizeRange(1 << 62), SizeRange(1, 1)])
    async def test_create_beyond_what_can_be_is_refused(self, storage_backend: StorageBackend, size: SizeRange) -> None:
        uuid = uuid4()
        with pytest.raises((OutOfRangeError, ResourceExhaustedError)):
            await storage_backend.create(uuid, size, {})
        with pytest.raises(NotFoundError):
            await storage_backend.get(uuid)

    async def test_create_refuses_an_unknown_parameter_by_name(self, storage_backend: StorageBackend) -> None:
        uuid = uuid4()
        with pytest.raises(InvalidArgumentError, match="no-such-parameter"):
            await storage_backend.create(uuid, SIZE, {"no-such-parameter": "1"})
        with pytest.raises(NotFoundError):
            await storage_backend.get(uuid)

    async def test_many_creates_and_deletes_at_once(self, storage_backend: StorageBackend) -> None:
        uuids = [uuid4() for _ in range(32)]
        volumes = await asyncio.gather(*(storage_backend.create(uuid, SIZE, {}) for uuid in uuids))
        assert [volume.uuid for volume in volumes] == uuids
        await asyncio.gather(*(storage_backend.delete(uuid) for uuid in uuids))
        found = await asyncio.gather(*(storage_backend.get(uuid) for uuid in uuids), return_exceptions=True)
        assert all(isinstance(one, NotFoundError) for one in found)

    async def test_get_of_an_unknown_volume_names_it(self, storage_backend: StorageBackend) -> None:
        uuid = uuid4()
        with pytest.raises(NotFoundError, match=str(uuid)):
            await storage_backend.get(uuid)

    async def test_delete_is_done_when_the_volume_is_gone(self, storage_backend: StorageBackend) -> None:
        uuid = await made(storage_backend)
        await storage_backend.delete(uuid)
        with pytest.raises(NotFoundError):
            await storage_backend.get(uuid)
        await storage_backend.delete(uuid)
        await storage_backend.create(uuid, SIZE, {})  # the name is free again

    # capacity

    async def test_capacity_is_what_create_takes(self, storage_backend: StorageBackend) -> None:
        room = await storage_backend.capacity({})
        assert room.available_bytes > 0
        if room.minimum_volume_bytes is not None:
            await storage_backend.create(uuid4(), SizeRange(0, room.minimum_volume_bytes), {})
            with pytest.raises(OutOfRangeError):
                await storage_backend.create(uuid4(), SizeRange(0, room.minimum_volume_bytes - 1), {})
        if room.maximum_volume_bytes is not None:
            uuid = uuid4()
            await storage_backend.create(uuid, SizeRange(room.maximum_volume_bytes), {})
            await storage_backend.delete(uuid)
            with pytest.raises((OutOfRangeError, ResourceExhaustedError)):
                await storage_backend.create(uuid, SizeRange(room.maximum_volume_bytes + 1), {})

    async def test_capacity_refuses_an_unknown_parameter_by_name(self, storage_backend: StorageBackend) -> None:
        with pytest.raises(InvalidArgumentError, match="no-such-parameter"):
            await storage_backend.capacity({"no-such-parameter": "1"})

    # grant, revoke

    async def test_grant_says_how_to_connect(self, storage_backend: StorageBackend) -> None:
        uuid, host = await made(storage_backend), Host()
        spec = await storage_backend.grant(uuid, host.choose)
        volume = await storage_backend.get(uuid)
        assert volume.hosts == (spec.hostnqn,)
        assert host.owns(spec.hostnqn)
        assert spec.size_bytes == volume.size_bytes
        assert publish_context.decode(publish_context.encode(spec)) == spec

    async def test_grant_again_changes_nothing(self, storage_backend: StorageBackend) -> None:
        uuid, host = await made(storage_backend), Host()
        spec = await storage_backend.grant(uuid, host.choose)
        assert await storage_backend.grant(uuid, host.choose) == spec
        assert (await storage_backend.get(uuid)).hosts == (spec.hostnqn,)

    async def test_grant_of_an_unknown_volume_is_refused(self, storage_backend: StorageBackend) -> None:
        uuid = uuid4()
        with pytest.raises(NotFoundError, match=str(uuid)):
            await storage_backend.grant(uuid, Host().choose)

    async def test_grant_gives_the_decision_the_volume_as_it_is(self, storage_backend: StorageBackend) -> None:
        uuid = await made(storage_backend)
        first = await storage_backend.grant(uuid, Host().choose)
        shown: list[Volume] = []

        def refuse(volume: Volume) -> str:
            shown.append(volume)
            raise FailedPreconditionError("not this one")

        with pytest.raises(FailedPreconditionError, match="not this one"):
            await storage_backend.grant(uuid, refuse)
        assert shown == [await storage_backend.get(uuid)]
        assert shown[0].hosts == (first.hostnqn,)

    async def test_two_hosts_come_and_go_apart(self, storage_backend: StorageBackend) -> None:
        uuid, one, two = await made(storage_backend), Host(), Host()
        first = await storage_backend.grant(uuid, one.choose)
        second = await storage_backend.grant(uuid, two.choose)
        assert sorted((await storage_backend.get(uuid)).hosts) == sorted([first.hostnqn, second.hostnqn])
        await storage_backend.revoke(uuid, one.owns)
        assert (await storage_backend.get(uuid)).hosts == (second.hostnqn,)
        await storage_backend.revoke(uuid, two.owns)
        assert (await storage_backend.get(uuid)).hosts == ()

    async def test_revoke_of_nothing_is_done(self, storage_backend: StorageBackend) -> None:
        uuid, host = await made(storage_backend), Host()
        await storage_backend.revoke(uuid4(), everybody)
        await storage_backend.revoke(uuid, everybody)
        spec = await storage_backend.grant(uuid, host.choose)
        await storage_backend.revoke(uuid, Host().owns)
        assert (await storage_backend.get(uuid)).hosts == (spec.hostnqn,)

    async def test_delete_waits_for_the_last_revoke(self, storage_backend: StorageBackend) -> None:
        uuid = await made(storage_backend)
        spec = await storage_backend.grant(uuid, Host().choose)
        with pytest.raises(FailedPreconditionError, match=str(uuid)):
            await storage_backend.delete(uuid)
        assert (await storage_backend.get(uuid)).hosts == (spec.hostnqn,)
        await storage_backend.revoke(uuid, everybody)
        await storage_backend.delete(uuid)
        with pytest.raises(NotFoundError):
            await storage_backend.get(uuid)

    # list_volumes, new_instance

    async def test_the_list_shows_every_volume_and_who_may_connect(self, storage_backend: StorageBackend) -> None:
        plain, granted, host = await made(storage_backend), await made(storage_backend), Host()
        spec = await storage_backend.grant(granted, host.choose)
        listed = {volume.uuid: volume for volume in await storage_backend.list_volumes()}
        assert listed[plain] == await storage_backend.get(plain)
        assert listed[granted].hosts == (spec.hostnqn,)
        await storage_backend.revoke(granted, host.owns)
        await storage_backend.delete(plain)
        listed = {volume.uuid: volume for volume in await storage_backend.list_volumes()}
        assert plain not in listed
        assert listed[granted].hosts == ()

    async def test_the_first_instance_is_there_at_once_and_the_same_one_is_not_told_again(
        self, storage_backend: StorageBackend
    ) -> None:
        instance = await asyncio.wait_for(storage_backend.new_instance(), 10)
        assert await asyncio.wait_for(storage_backend.new_instance(), 10) == instance
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(storage_backend.new_instance(instance), 0.1)

    async def test_a_recorded_host_nqn_is_granted_again_as_it_was(self, storage_backend: StorageBackend) -> None:
        """As csi-controller brings an export back: the export is whole, whoever else was there."""
        uuid, host = await made(storage_backend), Host()
        recorded = await storage_backend.grant(uuid, host.choose)
        await storage_backend.revoke(uuid, host.owns)
        assert await storage_backend.grant(uuid, lambda _: recorded.hostnqn) == recorded
        assert (await storage_backend.get(uuid)).hosts == (recorded.hostnqn,)

    # the fence

    async def test_a_granted_host_connects_and_no_other(
        self, storage_backend: StorageBackend, initiator: Initiator
    ) -> None:
        uuid = await made(storage_backend)
        spec = await storage_backend.grant(uuid, Host().choose)
        stranger = naming.hostnqn(uuid4(), naming.new_generation())
        with pytest.raises(DpucsiError):
            await initiator.connect(AttachSpec(spec.uuid, spec.subnqn, stranger, spec.paths))
        await initiator.connect(spec)
        assert await initiator.connected(spec)

    async def test_revoke_of_the_last_host_cuts_it_off(
        self, storage_backend: StorageBackend, initiator: Initiator
    ) -> None:
        uuid, host = await made(storage_backend), Host()
        spec = await storage_backend.grant(uuid, host.choose)
        await initiator.connect(spec)
        await storage_backend.revoke(uuid, host.owns)
        volume = await storage_backend.get(uuid)
        assert (volume.hosts, volume.leaving) == ((), ())
        await _cut_off(initiator, spec)

    async def test_revoke_spares_the_other_host(self, storage_backend: StorageBackend, initiator: Initiator) -> None:
        uuid, one, two = await made(storage_backend), Host(), Host()
        first = await storage_backend.grant(uuid, one.choose)
        second = await storage_backend.grant(uuid, two.choose)
        await initiator.connect(first)
        await initiator.connect(second)
        await storage_backend.revoke(uuid, one.owns)
        volume = await storage_backend.get(uuid)
        assert (volume.hosts, volume.leaving) == ((second.hostnqn,), ())
        assert await initiator.connected(second)
        await _cut_off(initiator, first)

    async def test_an_old_generation_stays_out_when_its_host_is_granted_again(
        self, storage_backend: StorageBackend, initiator: Initiator
    ) -> None:
        uuid, host = await made(storage_backend), Host()
        old = await storage_backend.grant(uuid, host.choose)
        await initiator.connect(old)
        await storage_backend.revoke(uuid, host.owns)
        new = await storage_backend.grant(uuid, host.choose)
        assert new.hostnqn != old.hostnqn
        await initiator.connect(new)
        assert await initiator.connected(new)
        await _cut_off(initiator, old)
        assert (await storage_backend.get(uuid)).leaving == ()


async def _cut_off(initiator: Initiator, spec: AttachSpec) -> None:
    """The initiator may take a moment to notice; the storage has noticed already."""

    async def gone() -> bool | None:
        return None if await initiator.connected(spec) else True

    await wait_until(gone, f"the end of the session of {spec.hostnqn}", timeout_s=10)
