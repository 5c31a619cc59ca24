import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpucsi.backends import Capacity, SizeRange
from dpucsi.backends.lvol_size import DEFAULT_BYTES, MIB, MINIMUM_BYTES, is_thin, lvol_capacity, lvol_size, shown
from dpucsi.errors import InvalidArgumentError, OutOfRangeError, ResourceExhaustedError
from dpucsi.spdk.lvol import Lvstore


def store(total: int = 8192, free: int = 8192, cluster: int = MIB) -> Lvstore:
    return Lvstore("u", "lvs0", "disk0", total, free, cluster)


@pytest.mark.parametrize(
    ("asked", "cluster", "size"),
    [
        (SizeRange(), MIB, DEFAULT_BYTES),
        (SizeRange(1), MIB, MINIMUM_BYTES),
        (SizeRange(64 * MIB), MIB, 64 * MIB),
        (SizeRange(64 * MIB + 1), MIB, 65 * MIB),
        (SizeRange(64 * MIB + 1), 4 * MIB, 68 * MIB),
        (SizeRange(5 * MIB, 5 * MIB), 64 * 1024, 5 * MIB),
        (SizeRange(0, 100 * MIB), MIB, 100 * MIB),
        (SizeRange(0, 102 * MIB), 4 * MIB, 100 * MIB),
        (SizeRange(0, 1 << 50), MIB, DEFAULT_BYTES),
        (SizeRange(8192 * MIB), MIB, 8192 * MIB),
    ],
)
def test_sizes(asked: SizeRange, cluster: int, size: int) -> None:
    assert lvol_size(asked, store(8192 * MIB // cluster, cluster=cluster), thin=True) == size


def test_the_default_fits_a_small_store() -> None:
    assert lvol_size(SizeRange(), store(total=100), thin=True) == 100 * MIB


@pytest.mark.parametrize(
    ("asked", "cluster"),
    [
        (SizeRange(1, 1), MIB),
        (SizeRange(0, MIB), MIB),
        (SizeRange(5 * MIB, 6 * MIB), 4 * MIB),  # no whole cluster between
        (SizeRange(8192 * MIB + 1), MIB),  # beyond the store
        (SizeRange(1 << 62), MIB),
    ],
)
def test_impossible_sizes(asked: SizeRange, cluster: int) -> None:
    with pytest.raises(OutOfRangeError, match="lvs0"):
        lvol_size(asked, store(8192 * MIB // cluster, cluster=cluster), thin=True)


def test_thick_volumes_need_free_clusters() -> None:
    small = store(free=10)
    assert lvol_size(SizeRange(64 * MIB), small, thin=True) == 64 * MIB
    with pytest.raises(ResourceExhaustedError, match=str(10 * MIB)):
        lvol_size(SizeRange(64 * MIB), small, thin=False)


def test_a_full_store_takes_no_thin_volume_either() -> None:
    with pytest.raises(ResourceExhaustedError, match="0 bytes of its 8 GiB"):
        lvol_size(SizeRange(64 * MIB), store(free=0), thin=True)


def test_a_size_beyond_the_store_is_said_for_people() -> None:
    with pytest.raises(OutOfRangeError, match=r"volume of 1 TiB \(1099511627776 bytes\).*lvs0, which has 8 GiB"):
        lvol_size(SizeRange(1 << 40), store(), thin=True)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (MIB, "1 MiB (1048576 bytes)"),
        (3 << 29, "1.5 GiB (1610612736 bytes)"),
        (1 << 60, "1024 PiB (1152921504606846976 bytes)"),
    ],
)
def test_shown(size: int, text: str) -> None:
    assert shown(size) == text


@pytest.mark.parametrize(
    ("free", "cluster", "thin", "largest", "least"),
    [
        (8192, MIB, True, 8192, 4),
        (10, MIB, True, 8192, 4),  # promised beyond what is free
        (10, MIB, False, 10, 4),
        (3, MIB, False, None, 4),  # not even the smallest
        (0, MIB, True, None, 4),
        (2, 8 * MIB, False, 16, 8),
        (100, 64 * 1024, False, 6, 4),  # 6.25 MiB
    ],
)
def test_capacity(free: int, cluster: int, thin: bool, largest: int | None, least: int) -> None:
    room = lvol_capacity(store(8192 * MIB // cluster, free, cluster), thin=thin)
    assert room == Capacity(free * cluster, None if largest is None else largest * MIB, least * MIB)


@given(free=st.integers(0, 1 << 14), cluster=st.sampled_from([1 << 16, MIB, 4 * MIB]), thin=st.booleans())
def test_capacity_is_what_is_taken(free: int, cluster: int, thin: bool) -> None:
    room = lvol_capacity(store(1 << 14, free, cluster), thin=thin)
    largest = room.maximum_volume_bytes
    if largest is not None:
        assert lvol_size(SizeRange(largest), store(1 << 14, free, cluster), thin=thin) == largest
    with pytest.raises((OutOfRangeError, ResourceExhaustedError)):
        lvol_size(SizeRange((largest or 0) + 1), store(1 << 14, free, cluster), thin=thin)


@given(
    required=st.integers(0, 1 << 40), spare=st.integers(0, 1 << 40), cluster=st.sampled_from([1 << 16, MIB, 4 * MIB])
)
def test_a_size_is_whole_and_in_its_range(required: int, spare: int, cluster: int) -> None:
    asked, large = SizeRange(required, required + spare), store(1 << 26, 1 << 26, cluster)
    try:
        size = lvol_size(asked, large, thin=True)
    except OutOfRangeError:
        return
    assert size in asked
    assert size % cluster == size % MIB == 0
    assert MINIMUM_BYTES <= size <= large.size_bytes


@pytest.mark.parametrize(("required", "limit"), [(-1, 0), (0, -1), (2, 1)])
def test_a_range_that_cannot_be(required: int, limit: int) -> None:
    with pytest.raises(InvalidArgumentError):
        SizeRange(required, limit)


def test_thin() -> None:
    assert is_thin({})
    assert is_thin({"thin": "true"})
    assert not is_thin({"thin": "false"})
    with pytest.raises(InvalidArgumentError, match="'yes'"):
        is_thin({"thin": "yes"})
    with pytest.raises(InvalidArgumentError, match="'colour' is unknown"):
        is_thin({"colour": "red"})
