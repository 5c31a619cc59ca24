"""What an enabled controller says of itself and its namespaces, and what it tells without being asked."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from tests.unit.spdk_emulator.target_rig import BLOCKS, HOSTID, SUBNQN, Rig, Session, read, refusal, write

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.command import ALL_NAMESPACES, AdminOpcode, Command
from dpucsi.nvme_tcp.features import AsyncEvent, Feature, Notice, queue_counts
from dpucsi.nvme_tcp.identify import (
    Cns,
    IdentifyController,
    IdentifyNamespace,
    IndependentNamespace,
    NamespaceDescriptors,
    NvmController,
    decode_nsids,
)
from dpucsi.nvme_tcp.logs import AnaLog, AnaState, LogId, decode_changed
from dpucsi.nvme_tcp.status import Status

NAMESPACES = AsyncEvent.notice(Notice.NAMESPACES).encode()
ANA = AsyncEvent.notice(Notice.ANA).encode()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.make(ana_reporting=True, max_namespaces=8)
    yield rig
    rig.close()


@pytest.fixture
async def session(rig: Rig) -> Session:
    return await rig.connect()


async def add(rig: Rig, name: str, *, nsid: int = 0, is_read_only: bool = False) -> int:
    await rig.call("bdev_malloc_create", name=name, num_blocks=BLOCKS, block_size=512)
    found = rig.emulator.bdevs.find(name)
    assert found is not None
    found.is_read_only = is_read_only
    added: int = await rig.call("nvmf_subsystem_add_ns", nqn=SUBNQN, namespace={"bdev_name": name, "nsid": nsid})
    return added


async def test_the_controller(session: Session) -> None:
    seen = IdentifyController.decode(await session.identify(Cns.CONTROLLER))
    assert (seen.sn, seen.mn, seen.subnqn, seen.cntlid) == ("S1", "SPDK bdev Controller", SUBNQN, session.cntlid)
    assert (seen.nn, seen.nanagrpid, seen.cntrltype, seen.max_transfer) == (8, 8, 1, 131072)
    assert (seen.sqes, seen.cqes, seen.in_capsule_data, seen.aerl) == (0x66, 0x44, 4096, 3)


async def test_namespaces(rig: Rig, session: Session) -> None:
    await add(rig, "small", nsid=5, is_read_only=True)
    assert decode_nsids(await session.identify(Cns.ACTIVE_NAMESPACES)) == [1, 5]
    assert decode_nsids(await session.identify(Cns.ACTIVE_NAMESPACES, 1)) == [5]
    assert decode_nsids(await session.identify(Cns.IO_ACTIVE_NAMESPACES)) == [1, 5]
    first = IdentifyNamespace.decode(await session.identify(Cns.NAMESPACE, 1))
    assert (first.nsze, first.block_size, first.is_write_protected, first.anagrpid) == (BLOCKS, 4096, False, 1)
    small = IdentifyNamespace.decode(await session.identify(Cns.NAMESPACE, 5))
    assert (small.nsze, small.block_size, small.is_write_protected, small.anagrpid) == (BLOCKS, 512, True, 5)
    independent = IndependentNamespace.decode(await session.identify(Cns.INDEPENDENT_NAMESPACE, 5))
    assert (independent.nstat, independent.nsattr, independent.anagrpid) == (1, 1, 5)
    assert NvmController.decode(await session.identify(Cns.IO_CONTROLLER)).wzsl == 12
    who = NamespaceDescriptors.decode(await session.identify(Cns.DESCRIPTORS, 1))
    assert who.uuid == UUID(rig.bdev.uuid)
    assert who.nguid == UUID(rig.bdev.uuid).hex


@pytest.mark.parametrize(
    ("cns", "nsid", "csi", "expected"),
    [
        (Cns.NAMESPACE, 0, 0, status.INVALID_NAMESPACE),
        (Cns.NAMESPACE, 9, 0, status.INVALID_NAMESPACE),
        (Cns.NAMESPACE, ALL_NAMESPACES, 0, status.INVALID_NAMESPACE),
        (Cns.DESCRIPTORS, 2, 0, status.INVALID_FIELD),
        (Cns.ACTIVE_NAMESPACES, 0xFFFFFFFE, 0, status.INVALID_NAMESPACE),
        (Cns.IO_NAMESPACE, 1, 2, status.INVALID_FIELD),
        (0x42, 1, 0, status.INVALID_FIELD),
    ],
)
async def test_what_cannot_be_identified(session: Session, cns: int, nsid: int, csi: int, expected: Status) -> None:
    assert await refusal(session.identify(cns, nsid, csi)) == expected


async def test_an_inactive_namespace_is_all_zeroes(session: Session) -> None:
    assert await session.identify(Cns.NAMESPACE, 2) == bytes(4096)


async def test_features(session: Session) -> None:
    assert queue_counts(await session.set_feature(Feature.NUMBER_OF_QUEUES, 0x10001)) == (127, 127)
    await session.set_feature(Feature.ASYNC_EVENT_CONFIG, 0x900)
    assert await session.get_feature(Feature.ASYNC_EVENT_CONFIG) == 0x900
    await session.set_feature(Feature.KEEP_ALIVE_TIMER, 12_345)
    assert await session.get_feature(Feature.KEEP_ALIVE_TIMER) == 20_000  # in steps of 10 s
    assert await session.get_feature(Feature.HOST_IDENTIFIER, 1, 16) == HOSTID.bytes
    behaviour = b"\1" + bytes(511)
    await session.set_feature(Feature.HOST_BEHAVIOUR, 0, behaviour)
    assert await session.get_feature(Feature.HOST_BEHAVIOUR, 0, 512) == behaviour
    assert await session.get_feature(Feature.VOLATILE_WRITE_CACHE) == 1


@pytest.mark.parametrize(
    ("feature", "value", "expected"),
    [
        (0x7E, 0, status.INVALID_FIELD),
        (Feature.KEEP_ALIVE_TIMER, 0, status.KEEP_ALIVE_INVALID),
        (Feature.NUMBER_OF_QUEUES, 0xFFFF, status.INVALID_FIELD),
        (Feature.VOLATILE_WRITE_CACHE, 0, status.FEATURE_NOT_CHANGEABLE),
        (Feature.INTERRUPT_COALESCING, 0, status.FEATURE_NOT_CHANGEABLE),
        (Feature.HOST_IDENTIFIER, 0, status.COMMAND_SEQUENCE_ERROR),
        (Feature.HOST_BEHAVIOUR, 0, status.DATA_SGL_LENGTH_INVALID),
        (Feature.POWER_MANAGEMENT, 1, status.INVALID_FIELD),
        (1 << 31 | Feature.ARBITRATION, 0, status.FEATURE_NOT_SAVEABLE),
    ],
)
async def test_features_that_cannot_be_set(session: Session, feature: int, value: int, expected: Status) -> None:
    assert await refusal(session.set_feature(feature, value)) == expected


async def test_the_number_of_queues_is_asked_before_there_are_any(session: Session) -> None:
    await session.io_queue()
    assert await refusal(session.set_feature(Feature.NUMBER_OF_QUEUES, 0)) == status.COMMAND_SEQUENCE_ERROR


async def test_log_pages(session: Session) -> None:
    assert len(await session.log_page(LogId.SMART, 512, nsid=ALL_NAMESPACES)) == 512
    assert (await session.log_page(LogId.ERROR, 64)) == bytes(64)
    assert (await session.log_page(LogId.COMMANDS, 4096))[24] == 1
    assert (await session.log_page(LogId.SUPPORTED_PAGES, 1024))[0x0C * 4] == 1
    whole = await session.log_page(LogId.FIRMWARE, 512)
    assert await session.log_page(LogId.FIRMWARE, 32, offset=8) == whole[8:40]
    assert await session.log_page(LogId.FIRMWARE, 1024) == whole + bytes(512)


@pytest.mark.parametrize(
    ("page", "more", "expected"),
    [
        (0x66, {}, status.INVALID_LOG_PAGE),
        (LogId.SMART, {"offset": 512}, status.INVALID_FIELD),
        (LogId.SMART, {"offset": 2}, status.INVALID_FIELD),
        (LogId.SMART, {"nsid": 1}, status.INVALID_FIELD),
    ],
)
async def test_log_pages_that_are_refused(session: Session, page: int, more: dict[str, Any], expected: Status) -> None:
    assert await refusal(session.log_page(page, 512, **more)) == expected


async def test_a_change_of_namespaces_is_told_once_until_it_was_read(rig: Rig, session: Session) -> None:
    event = session.event()
    nsid = await add(rig, "more")
    assert await event == NAMESPACES
    silent = session.event()
    await rig.call("nvmf_subsystem_remove_ns", nqn=SUBNQN, nsid=nsid)
    assert decode_changed(await session.log_page(LogId.CHANGED_NAMESPACES, 4096, retain=True)) == [nsid]
    assert not silent.done()
    assert decode_changed(await session.log_page(LogId.CHANGED_NAMESPACES, 4096)) == [nsid]
    assert decode_changed(await session.log_page(LogId.CHANGED_NAMESPACES, 4096)) == []
    rig.emulator.bdevs.resize(rig.bdev, 2 * BLOCKS)
    assert await silent == NAMESPACES
    assert decode_changed(await session.log_page(LogId.CHANGED_NAMESPACES, 4096)) == [1]
    assert IdentifyNamespace.decode(await session.identify(Cns.NAMESPACE, 1)).nsze == 2 * BLOCKS


async def test_an_event_waits_for_a_request(rig: Rig, session: Session) -> None:
    await add(rig, "more")
    assert await session.event() == NAMESPACES


async def test_a_host_is_told_what_it_wants_to_be_told(rig: Rig, session: Session) -> None:
    await session.set_feature(Feature.ASYNC_EVENT_CONFIG, 0)
    event = session.event()
    await add(rig, "more")
    assert decode_changed(await session.log_page(LogId.CHANGED_NAMESPACES, 4096)) == [2]
    assert not event.done()


async def test_the_fifth_event_request_is_one_too_many(session: Session) -> None:
    waiting = [session.event() for _ in range(4)]
    assert await refusal(session.event()) == status.AER_LIMIT_EXCEEDED
    assert not any(event.done() for event in waiting)


async def test_abort(session: Session) -> None:
    event = session.event()
    await session.admin.execute(Command(AdminOpcode.KEEP_ALIVE))
    (cid,) = [cid for cid in range(8) if (await abort(session, cid)) == 0]
    assert await refusal(event) == status.ABORT_REQUESTED
    assert await abort(session, cid) == 1


async def abort(session: Session, cid: int, qid: int = 0) -> int:
    return await session.admin.execute(Command(AdminOpcode.ABORT, cdw10=qid | cid << 16))


async def test_ana_states_of_a_listener(rig: Rig, session: Session) -> None:
    async def states() -> dict[int, AnaState]:
        return AnaLog.decode(await session.log_page(LogId.ANA, 1024, nsid=ALL_NAMESPACES)).states()

    queue = await session.io_queue()
    await write(queue, 0, b"x" * 4096)
    event = session.event()
    address = {"nqn": SUBNQN, "listen_address": rig.address}
    await rig.call("nvmf_subsystem_listener_set_ana_state", **address, ana_state="inaccessible", anagrpid=1)
    assert await event == ANA
    assert await states() == {1: AnaState.INACCESSIBLE}
    assert await refusal(read(queue, 0)) == status.ANA_INACCESSIBLE
    assert IdentifyNamespace.decode(await session.identify(Cns.NAMESPACE, 1)).nuse == 0
    event = session.event()
    await rig.call("nvmf_subsystem_set_ns_ana_group", nqn=SUBNQN, nsid=1, anagrpid=3)
    assert await event == ANA
    assert await states() == {3: AnaState.OPTIMIZED}
    await rig.call("nvmf_subsystem_listener_set_ana_state", **address, ana_state="non_optimized")
    assert await states() == {3: AnaState.NON_OPTIMIZED}
    assert await read(queue, 0) == b"x" * 4096


@pytest.mark.parametrize("opcode", [0x00, 0x01, 0x80, 0xC1])
async def test_admin_commands_that_are_not_there(session: Session, opcode: int) -> None:
    """Queues of a fabric are connected, not created."""
    assert await refusal(session.admin.execute(Command(opcode))) == status.INVALID_OPCODE


async def test_what_one_host_does_wrong_does_not_touch_another(rig: Rig, session: Session) -> None:
    other = await rig.connect()
    queue = await other.io_queue()
    work = [write(queue, number, bytes([number]) * 4096) for number in range(16)]
    wrong = [refusal(session.identify(0x42)) for _ in range(16)]
    await asyncio.gather(*work, *wrong)
    assert [(await read(queue, number))[0] for number in range(16)] == list(range(16))
