"""The typed functions: what they send, and how strict they are about what comes back."""

from typing import Any

import pytest

from dpucsi.spdk import MethodNotFoundError, SpdkError, UnexpectedAnswerError, bdev, lvol, notify, nvme, nvmf
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.jsonrpc import Json, Params

TCP = TransportAddress("TCP", "127.0.0.1", "4420", "IPv4")
NAMESPACE = {"nsid": 1, "bdev_name": "b", "uuid": "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10", "new in 2030": {}}
SUBSYSTEM: dict[str, Any] = {
    "nqn": "nqn.x",
    "subtype": "NVMe",
    "listen_addresses": [{"trtype": "VFIOUSER", "adrfam": "unknown", "traddr": "/pf0", "trsvcid": "0"}],
    "allow_any_host": False,
    "hosts": [{"nqn": "nqn.host"}],
    "serial_number": "S",
    "model_number": "M",
    "max_namespaces": 32,
    "min_cntlid": 1,
    "max_cntlid": 65519,
    "namespaces": [NAMESPACE],
}


class Told:
    """A caller that answers what it was told and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Params | None]] = []

    async def call(self, method: str, params: Params | None = None) -> Json:
        self.asked.append((method, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


async def test_a_subsystem_is_read_with_fields_that_nobody_knows_yet() -> None:
    (subsystem,) = await nvmf.nvmf_get_subsystems(Told([SUBSYSTEM]))
    assert subsystem.hosts == ("nqn.host",)
    assert subsystem.listen_addresses == (TransportAddress("VFIOUSER", "/pf0", "0"),)
    assert subsystem.namespace(1) == nvmf.NvmfNamespace(1, "b", "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10", "")
    assert subsystem.namespace(2) is None


@pytest.mark.parametrize("field", ["nqn", "subtype", "allow_any_host", "serial_number", "max_namespaces"])
async def test_a_missing_field_is_named(field: str) -> None:
    without = {key: value for key, value in SUBSYSTEM.items() if key != field}
    with pytest.raises(UnexpectedAnswerError, match=f"nvmf_get_subsystems with no field '{field}'"):
        await nvmf.nvmf_get_subsystems(Told([without]))


@pytest.mark.parametrize(
    ("field", "value"),
    [("nqn", 1), ("allow_any_host", 1), ("max_namespaces", True), ("hosts", {}), ("namespaces", [1])],
)
async def test_a_field_of_another_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(UnexpectedAnswerError, match="nvmf_get_subsystems"):
        await nvmf.nvmf_get_subsystems(Told([SUBSYSTEM | {field: value}]))


@pytest.mark.parametrize("answer", [None, {}, "x", [1]])
async def test_a_list_that_is_none_is_refused(answer: Any) -> None:
    with pytest.raises(UnexpectedAnswerError):
        await bdev.bdev_get_bdevs(Told(answer))


async def test_true_is_the_only_yes() -> None:
    with pytest.raises(UnexpectedAnswerError):
        await lvol.bdev_lvol_delete(Told(False), name="lvs/v")


async def test_only_what_was_given_is_sent() -> None:
    told = Told("uuid")
    await lvol.bdev_lvol_create(told, lvs_name="lvs0", lvol_name="v", size_in_mib=64, thin_provision=True)
    params = {"lvs_name": "lvs0", "lvol_name": "v", "size_in_mib": 64, "thin_provision": True}
    assert told.asked == [("bdev_lvol_create", params)]


async def test_an_attachment_is_flat_and_a_listener_nested() -> None:
    attach, listen, detach = Told(["c1n1"]), Told(True), Told(True)
    await nvme.bdev_nvme_attach_controller(attach, name="c1", address=TCP, subnqn="s", hostnqn="h")
    await nvmf.nvmf_subsystem_add_listener(listen, nqn="s", address=TCP)
    await nvme.bdev_nvme_detach_controller(detach, name="c1")
    flat = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "4420"}
    assert attach.asked[0][1] == {"name": "c1", "subnqn": "s", "hostnqn": "h", **flat}
    assert listen.asked[0][1] == {"nqn": "s", "listen_address": flat}
    assert detach.asked[0][1] == {"name": "c1"}


FINDERS = [bdev.find_bdev, nvmf.find_subsystem, nvme.find_nvme_controller]


@pytest.mark.parametrize("find", FINDERS)
@pytest.mark.parametrize("code", [-19, -22, -32602, -32603])
async def test_a_refused_read_by_name_is_absence_in_one_round(find: Any, code: int) -> None:
    told = Told(SpdkError("SPDK", "m", code, "whatever"))
    assert await find(told, "x") is None
    assert len(told.asked) == 1


@pytest.mark.parametrize("find", FINDERS)
async def test_an_spdk_that_cannot_tell_is_not_absence(find: Any) -> None:
    with pytest.raises(MethodNotFoundError):
        await find(Told(MethodNotFoundError("no such method")), "x")


@pytest.mark.parametrize("find", FINDERS)
@pytest.mark.parametrize("answer", [[], [{}, {}]])
async def test_a_read_by_name_gives_one(find: Any, answer: Any) -> None:
    with pytest.raises(UnexpectedAnswerError):
        await find(Told(answer), "x")


async def test_notifications_go_on_behind_the_last_one() -> None:
    told = Told([{"id": 7, "type": "bdev_register", "ctx": "b"}])
    stream = notify.notifications(told, first_id=5, every_s=0)
    assert await anext(stream) == notify.Notification(7, "bdev_register", "b")
    await anext(stream)
    assert [params for _, params in told.asked] == [{"id": 5}, {"id": 8}]
