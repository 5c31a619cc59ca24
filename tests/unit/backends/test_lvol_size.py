import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpucsi.backends import SizeRange
from dpucsi.backends.lvol_size import DEFAULT_BYTES, MIB, MINIMUM_BYTES, is_thin, lvol_size
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
