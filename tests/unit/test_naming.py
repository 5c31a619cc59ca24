from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpucsi import naming
from dpucsi.errors import InvalidArgumentError

uuids = st.uuids()


def test_a_name_always_gives_the_same_uuid_and_clusters_differ() -> None:
    cluster = UUID("6ba7b814-9dad-11d1-80b4-00c04fd430c8")
    assert naming.volume_uuid(cluster, "pvc-1") == naming.volume_uuid(cluster, "pvc-1")
    assert naming.volume_uuid(cluster, "pvc-1") != naming.volume_uuid(cluster, "pvc-2")
    assert naming.volume_uuid(uuid4(), "pvc-1") != naming.volume_uuid(cluster, "pvc-1")


@given(st.from_regex(naming.BACKEND_NAME, fullmatch=True), uuids)
def test_volume_id_round_trips_within_its_limit(backend: str, uuid: UUID) -> None:
    text = str(naming.VolumeId(backend, uuid))
    assert naming.VolumeId.parse(text) == naming.VolumeId(backend, uuid)
    assert len(text.encode()) <= naming.VOLUME_ID_MAX


@given(st.text(max_size=200))
def test_a_volume_id_has_one_spelling_or_is_refused(text: str) -> None:
    try:
        parsed = naming.VolumeId.parse(text)
    except InvalidArgumentError:
        return
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text", ["", "pool", "pool/", "/x", "pool/NOT", "POOL/{u}", "pool/{U}", "pool/{u}/", "pool/{u}\n"]
)
def test_malformed_volume_ids(text: str) -> None:
    uuid = str(uuid4())
    with pytest.raises(InvalidArgumentError, match="volume_id"):
        naming.VolumeId.parse(text.replace("{u}", uuid).replace("{U}", "A" + uuid.upper()[1:]))


@given(uuids)
def test_node_id_round_trips_with_a_slash_in_the_node_name(dpu: UUID) -> None:
    assert naming.NodeId.parse(f"zone/rack/node-1/{dpu}") == naming.NodeId("zone/rack/node-1", dpu)


@given(uuids)
def test_serial_and_nqns_fit_nvme(uuid: UUID) -> None:
    assert len(naming.serial(uuid)) == 20
    assert naming.serial(uuid).isalnum()
    for nqn in (
        naming.subnqn(uuid),
        naming.hostnqn(uuid, naming.new_generation()),
        naming.host_subnqn(uuid, "port0-pf0"),
    ):
        assert naming.check_nqn(nqn, "nqn") == nqn
    assert UUID(naming.nguid(uuid)) == uuid
    assert len(naming.lvol_name(uuid)) <= 63


@given(uuids)
def test_what_is_ours_is_recognised_and_nothing_else(uuid: UUID) -> None:
    assert naming.uuid_of_subnqn(naming.subnqn(uuid)) == uuid
    assert naming.uuid_of_subnqn(f"nqn.2014-08.org.nvmexpress:uuid:{uuid}") is None
    assert naming.dpu_of_hostnqn(naming.hostnqn(uuid, "00c0ffee")) == uuid
    assert naming.dpu_of_hostnqn(f"nqn.2024-01.io.dpucsi:dpu:{uuid}") is None
    assert naming.dpu_of_hostnqn(f"nqn.2024-01.io.dpucsi:dpu:{uuid}:x") is None


def test_generations_differ() -> None:
    assert len({naming.new_generation() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "nqn", ["", "nqn.", "nqn.2024-01", "x" * 20, "nqn.2024-01.io.x:" + "y" * 220, "nqn.2024-01.io x:y"]
)
def test_malformed_nqns(nqn: str) -> None:
    with pytest.raises(InvalidArgumentError, match="the nqn of a test"):
        naming.check_nqn(nqn, "the nqn of a test")


@given(uuids)
def test_a_path_id_depends_on_the_address_alone(uuid: UUID) -> None:
    same = naming.opi_path(uuid, "10.0.0.1", "4420")
    assert same == naming.opi_path(uuid, "10.0.0.1", "4420")
    assert same != naming.opi_path(uuid, "10.0.0.2", "4420")
