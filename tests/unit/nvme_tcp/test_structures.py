"""What lies inside: every structure goes through bytes and comes back, and lies where the figures say."""

from dataclasses import fields
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.nvme_tcp.test_pdu import commands, completions, u8, u16, u32, u64

from dpucsi.nvme_tcp import features, status
from dpucsi.nvme_tcp.command import Command, Completion, FabricsType
from dpucsi.nvme_tcp.fabrics import (
    Capabilities,
    Configuration,
    Connect,
    ConnectData,
    ControllerStatus,
    DiscoveryEntry,
    DiscoveryLog,
    PropertyAccess,
    property_get,
    property_set,
)
from dpucsi.nvme_tcp.identify import (
    IdentifyController,
    IdentifyNamespace,
    IndependentNamespace,
    NamespaceDescriptors,
    NvmController,
    decode_nsids,
    encode_nsids,
    lbaf,
)
from dpucsi.nvme_tcp.layout import Layout
from dpucsi.nvme_tcp.logs import (
    AnaGroup,
    AnaLog,
    AnaState,
    ErrorEntry,
    FirmwareLog,
    LogRequest,
    SmartLog,
    ana_log_size,
    decode_changed,
    encode_changed,
    encode_commands,
)

LAYOUTS: list[type[Layout]] = [
    *(ConnectData, DiscoveryEntry, IdentifyController, IdentifyNamespace, IndependentNamespace),
    *(NvmController, SmartLog, ErrorEntry, FirmwareLog),
]
BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}
nsids = st.lists(st.integers(1, 2**32 - 2), unique=True, max_size=1024)


@given(commands)
def test_commands(command: Command) -> None:
    assert Command.decode(command.encode()) == command


@given(completions)
def test_completions(completion: Completion) -> None:
    assert Completion.decode(completion.encode()) == completion


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
def test_layouts(layout: type[Layout], data: st.DataObject) -> None:
    values: dict[str, Any] = {}
    for entry in fields(layout):
        name = entry.name
        form = entry.metadata["form"].format[1:] if "form" in entry.metadata else ""
        if form in BITS:
            values[name] = data.draw(st.integers(0, 2 ** BITS[form] - 1))
        elif form:
            values[name] = data.draw(st.binary(min_size=int(form[:-1]), max_size=int(form[:-1])))
        else:
            letters = st.characters(min_codepoint=33, max_codepoint=126)
            values[name] = data.draw(st.text(letters, max_size=entry.metadata["size"]))
    made = layout(**values)
    assert len(made.encode()) == layout.SIZE
    assert layout.decode(made.encode()) == made
    with pytest.raises(ValueError, match="bytes instead of"):
        layout.decode(made.encode()[:-1])


def test_where_fields_lie() -> None:
    controller = IdentifyController(sn="S1", mdts=5, cntlid=3, sqes=0x66, nn=32, subnqn="nqn.x", ioccsz=260).encode()
    assert controller[4:24] == b"S1".ljust(20)
    assert (controller[77], controller[78], controller[512], controller[516]) == (5, 3, 0x66, 32)
    assert controller[768:774] == b"nqn.x\0"
    assert controller[1792:1796] == (260).to_bytes(4, "little")
    namespace = IdentifyNamespace(nsze=9, nguid=bytes(range(16)), lbaf0=lbaf(4096)).encode()
    assert (namespace[0], namespace[104:120], namespace[130]) == (9, bytes(range(16)), 12)
    assert IdentifyNamespace.decode(namespace).block_size == 4096
    assert IdentifyController.decode(controller).max_transfer == 131072
    assert IdentifyController.decode(controller).in_capsule_data == 4096


@given(st.uuids() | st.none(), st.booleans(), st.booleans(), st.integers(1, 3))
def test_descriptors(uuid: UUID | None, has_nguid: bool, has_eui64: bool, csi: int) -> None:
    who = NamespaceDescriptors(uuid, uuid4().hex if has_nguid else "", "0123456789abcdef" if has_eui64 else "", csi)
    assert NamespaceDescriptors.decode(who.encode()) == who


@given(st.binary(max_size=64))
def test_descriptors_of_garbage(data: bytes) -> None:
    try:
        NamespaceDescriptors.decode(data)
    except ValueError as wrong:
        assert "descriptor" in str(wrong)


@given(nsids)
def test_namespace_lists(chosen: list[int]) -> None:
    assert decode_nsids(encode_nsids(chosen)) == sorted(chosen)
    assert decode_changed(encode_changed(chosen)) == sorted(chosen)


def test_too_many_changes_are_no_list() -> None:
    assert decode_changed(encode_changed(range(1, 1026))) is None
    assert len(encode_changed(range(1, 1026))) == 4096


groups = st.lists(st.builds(AnaGroup, u32, st.sampled_from(AnaState), nsids.map(tuple), u64), max_size=5).map(tuple)


@given(st.builds(AnaLog, u64, groups))
def test_ana_log(log: AnaLog) -> None:
    data = log.encode()
    assert len(data) == ana_log_size(len(log.groups), sum(len(group.nsids) for group in log.groups))
    assert AnaLog.decode(data) == log
    assert AnaLog.decode(data + bytes(100)) == log
    if log.groups:
        with pytest.raises(ValueError, match="ANA log"):
            AnaLog.decode(data[:-1])


@given(st.builds(DiscoveryLog, u64, st.lists(st.builds(DiscoveryEntry, portid=u16), max_size=4).map(tuple)))
def test_discovery_log(log: DiscoveryLog) -> None:
    assert DiscoveryLog.decode(log.encode()) == log
    with pytest.raises(ValueError, match="discovery log"):
        DiscoveryLog.decode(log.encode()[:-1])


@given(u8, st.integers(1, 2**20).map(lambda dwords: dwords * 4), u64, st.integers(0, 127), st.booleans(), u32)
def test_log_requests(page: int, length: int, offset: int, lsp: int, retain: bool, nsid: int) -> None:
    wanted = LogRequest(page, length, offset, lsp, retain, nsid)
    assert LogRequest.of(Command.decode(wanted.command().encode())) == wanted


@given(u16, u16, u32, u8, u16)
def test_connect(qid: int, sqsize: int, kato: int, cattr: int, recfmt: int) -> None:
    wanted = Connect(qid, sqsize, kato, cattr, recfmt)
    command = wanted.command(7)
    assert (command.fctype, command.sends_data, command.receives_data) == (FabricsType.CONNECT, True, False)
    assert Connect.of(Command.decode(command.encode())) == wanted


def test_properties() -> None:
    assert PropertyAccess.of(property_get(0x1C)) == PropertyAccess(0x1C, 4, 0)
    assert PropertyAccess.of(property_get(0, is_wide=True)) == PropertyAccess(0, 8, 0)
    assert PropertyAccess.of(property_set(0x14, 0x460001)) == PropertyAccess(0x14, 4, 0x460001)
    assert not property_set(0x14, 1).receives_data
    assert Configuration.decode(0x460001) == Configuration(en=True, iosqes=6, iocqes=4)


@given(u16, st.booleans(), u8, u8, st.booleans())
def test_capabilities(mqes: int, cqr: bool, to: int, css: int, crwms: bool) -> None:
    caps = Capabilities(mqes, cqr, to, css, crwms)
    assert Capabilities.decode(caps.encode()) == caps


@given(st.booleans(), st.booleans(), st.integers(0, 3))
def test_controller_status(rdy: bool, cfs: bool, shst: int) -> None:
    state = ControllerStatus(rdy, cfs, shst)
    assert ControllerStatus.decode(state.encode()) == state


@given(st.integers(1, 65535))
def test_queue_counts(count: int) -> None:
    assert features.queue_counts(features.queues(count)) == (count, count)


@pytest.mark.parametrize("notice", features.Notice)
def test_events(notice: features.Notice) -> None:
    event = features.AsyncEvent.notice(notice)
    assert features.AsyncEvent.decode(event.encode()) == event


def test_commands_log() -> None:
    page = encode_commands({6: 1}, {1: 3})
    assert (len(page), page[24], page[1028]) == (4096, 1, 3)


def test_statuses_have_names() -> None:
    assert str(status.LBA_OUT_OF_RANGE) == "lba out of range (0/80)"
    assert "connect invalid parameters" in str(status.CONNECT_INVALID_PARAMETERS)
    assert str(status.Status(7, 1)) == "status (7/01)"
    assert status.ANA_INACCESSIBLE.is_path
