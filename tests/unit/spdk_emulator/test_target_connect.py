"""Who gets in, with which status the others do not, and what becomes of a controller that nobody speaks to."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from tests.unit.spdk_emulator.target_rig import HOSTNQN, OTHER, SUBNQN, Rig, refusal, until, write

from dpucsi.nvme_tcp import fabrics, status
from dpucsi.nvme_tcp.command import AdminOpcode, Command
from dpucsi.nvme_tcp.fabrics import ENABLED, Configuration, Property, property_get, property_set
from dpucsi.nvme_tcp.identify import IdentifyController
from dpucsi.nvme_tcp.logs import LogId
from dpucsi.nvme_tcp.status import NvmeError, Status


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.make(transport={"min_kato": 1, "kas": 1})
    yield rig
    rig.close()


@pytest.mark.parametrize(
    ("who", "expected", "where"),
    [
        ({"hostnqn": OTHER}, status.CONNECT_INVALID_HOST, 0),
        ({"hostnqn": "n" * 230}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_HOSTNQN),
        ({"subnqn": "nqn.2024-01.io.example:none"}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_SUBNQN),
        ({"subnqn": ""}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_SUBNQN),
        ({"recfmt": 1}, status.CONNECT_INCOMPATIBLE_FORMAT, 0),
        ({"sqsize": 0}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_SQSIZE),
        ({"sqsize": 128}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_SQSIZE),
        ({"cntlid": 7}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_CNTLID),
        ({"qid": 1, "cntlid": 7}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_CNTLID),
    ],
)
async def test_who_is_refused(rig: Rig, who: dict[str, Any], expected: Status, where: int) -> None:
    with pytest.raises(NvmeError) as refused:
        await rig.queue(**who)
    assert (refused.value.status, refused.value.result) == (expected, where)
    assert await rig.controllers() == []


async def test_a_host_shows_with_its_queues(rig: Rig) -> None:
    session = await rig.connect()
    queue = await session.io_queue(3)
    await write(queue, 0, bytes(4096))
    (shown,) = await rig.controllers()
    assert (shown["cntlid"], shown["hostnqn"], shown["num_io_qpairs"]) == (session.cntlid, HOSTNQN, 2)
    queues = await rig.call("nvmf_subsystem_get_qpairs", nqn=SUBNQN)
    assert [(entry["qid"], entry["state"], entry["listen_address"]) for entry in queues] == [
        (0, "enabled", rig.address),
        (3, "enabled", rig.address),
    ]
    queue.abort()
    await until(lambda: rig.subsystem.controllers[0].describe()["num_io_qpairs"] == 1, "the queue's end")
    session.admin.abort()
    await until(lambda: not rig.subsystem.controllers, "the controller's end")


@pytest.mark.parametrize(
    ("who", "expected", "where"),
    [
        ({"hostnqn": OTHER}, status.CONNECT_INVALID_HOST, 0),
        ({"hostid": uuid4()}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_HOSTID),
        ({"qid": 128}, status.INVALID_QUEUE_IDENTIFIER, 0),
        ({"qid": 1}, status.INVALID_QUEUE_IDENTIFIER, 0),
        ({"qid": 2, "sqsize": 128}, status.CONNECT_INVALID_PARAMETERS, fabrics.INVALID_SQSIZE),
    ],
)
async def test_io_queues_that_are_refused(rig: Rig, who: dict[str, Any], expected: Status, where: int) -> None:
    session = await rig.connect()
    queue = await session.io_queue(1)
    with pytest.raises(NvmeError) as refused:
        await session.io_queue(**({"qid": 2} | who))
    assert (refused.value.status, refused.value.result) == (expected, where)
    await write(queue, 0, bytes(4096))


async def test_an_io_queue_of_another_host_is_refused(rig: Rig) -> None:
    await rig.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=OTHER)
    session = await rig.connect()
    with pytest.raises(NvmeError) as refused:
        await session.io_queue(hostnqn=OTHER)
    assert refused.value.result == fabrics.INVALID_HOSTNQN


@pytest.mark.parametrize("configuration", [None, Configuration(en=True, iosqes=6, iocqes=5)])
async def test_io_queues_want_an_enabled_controller(rig: Rig, configuration: Configuration | None) -> None:
    session = await rig.connect(enable=False)
    if configuration is not None:
        await session.enable(configuration)
    with pytest.raises(NvmeError) as refused:
        await session.io_queue()
    assert refused.value.result == fabrics.INVALID_QID


async def test_before_enabling_only_properties_answer(rig: Rig) -> None:
    session = await rig.connect(enable=False)
    assert await refusal(session.identify(1)) == status.COMMAND_SEQUENCE_ERROR
    assert not (await session.status()).rdy
    await session.enable()
    assert (await session.status()).rdy
    assert IdentifyController.decode(await session.identify(1)).cntlid == session.cntlid


async def test_properties(rig: Rig) -> None:
    session = await rig.connect(enable=False)
    caps = fabrics.Capabilities.decode(await session.admin.execute(property_get(Property.CAP, is_wide=True)))
    assert (caps.mqes, caps.css, caps.crwms) == (127, 1, True)
    assert await session.admin.execute(property_get(Property.VS)) == fabrics.VERSION_2_0
    low = await session.admin.execute(property_get(Property.CAP))
    high = await session.admin.execute(property_get(Property.CAP + 4))
    assert fabrics.Capabilities.decode(low | high << 32) == caps
    wrong = [property_get(0x50), property_get(Property.VS, is_wide=True), property_set(Property.CAP, 1)]
    wrong += [property_set(Property.CC, Configuration(en=True, mps=1).encode())]
    for command in wrong:
        assert await refusal(session.admin.execute(command)) == status.CONNECT_INVALID_PARAMETERS
    assert not (await session.status()).rdy


@pytest.mark.parametrize("step", [Configuration(iosqes=6, iocqes=4), Configuration(en=True, shn=1, iosqes=6, iocqes=4)])
async def test_disabling_and_shutting_down_end_the_io_queues(rig: Rig, step: Configuration) -> None:
    session = await rig.connect()
    queue = await session.io_queue()
    await session.enable(step)
    await until(lambda: queue.is_lost, "the I/O queue's end")
    for _ in range(100):
        state = await session.status()
        if not state.rdy or state.shst == fabrics.SHST_COMPLETE:
            break
    else:
        pytest.fail(f"it never was done: {state}")
    await session.enable(Configuration())
    await session.enable(ENABLED)
    await write(await session.io_queue(), 0, bytes(4096))


async def test_a_host_without_keep_alive_is_cut(rig: Rig) -> None:
    session = await rig.connect(kato=300)
    queue = await session.io_queue()
    for _ in range(3):
        await session.admin.execute(Command(AdminOpcode.KEEP_ALIVE))
    await until(lambda: session.admin.is_lost and queue.is_lost, "the cut")
    await until(lambda: not rig.subsystem.controllers, "the controller's end")


async def test_a_host_without_a_timeout_stays(rig: Rig) -> None:
    timed, patient = await rig.connect(kato=200), await rig.connect(kato=0)
    await until(lambda: timed.admin.is_lost, "the other host's cut")
    assert not patient.admin.is_lost
    assert [entry["cntlid"] for entry in await rig.controllers()] == [patient.cntlid]


async def test_the_discovery_subsystem_tells_a_host_what_it_may_use(rig: Rig) -> None:
    async def seen(hostnqn: str) -> fabrics.DiscoveryLog:
        session = await rig.connect(subnqn=fabrics.DISCOVERY_NQN, hostnqn=hostnqn)
        assert await refusal(session.identify(2)) == status.INVALID_FIELD
        assert await refusal(session.log_page(LogId.SMART, 512)) == status.INVALID_LOG_PAGE
        return fabrics.DiscoveryLog.decode(await session.log_page(LogId.DISCOVERY, 4096))

    (entry,) = (await seen(HOSTNQN)).entries
    assert (entry.subnqn, entry.traddr, entry.trsvcid) == (SUBNQN, "127.0.0.1", str(rig.port))
    assert (await seen(OTHER)).entries == ()
    session = await rig.connect(subnqn=fabrics.DISCOVERY_NQN, hostnqn=OTHER, kato=5000)
    event = session.event()
    await rig.call("nvmf_subsystem_add_host", nqn=SUBNQN, host=OTHER)
    assert await event == 0x70F002
    assert len((await seen(OTHER)).entries) == 1
