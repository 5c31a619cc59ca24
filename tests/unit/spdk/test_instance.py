"""Which SPDK process answers, decided from its pid and its age."""

import pytest

from dpucsi.spdk.instance import Lineage, Sighting, is_same_process


@pytest.mark.parametrize(
    ("before", "silence_s", "now", "same"),
    [
        pytest.param(Sighting(1, 100), 5, Sighting(1, 105), True, id="older by the silence"),
        pytest.param(Sighting(1, 100), 5, Sighting(1, 104.99), True, id="clocks drift"),
        pytest.param(Sighting(1, 100), 5, Sighting(1, 4.9), False, id="started meanwhile, same pid"),
        pytest.param(Sighting(1, 1), 86_400, Sighting(1, 86_399), False, id="started meanwhile, a long time ago"),
        pytest.param(Sighting(1, 100), 5, Sighting(2, 105), False, id="another pid"),
        pytest.param(Sighting(1, None), 5, Sighting(1, 105), False, id="age was unknown"),
        pytest.param(Sighting(1, 100), 5, Sighting(1, None), False, id="age is unknown"),
    ],
)
def test_the_same_process(before: Sighting, silence_s: float, now: Sighting, same: bool) -> None:
    assert is_same_process(before, silence_s, now) is same


def test_a_process_that_was_heard_for_days_is_known_again_after_a_short_silence() -> None:
    lineage = Lineage()
    first = lineage.see(Sighting(1, 2), at=1000)
    lineage.heard(at=1000 + 400_000)
    assert lineage.see(Sighting(1, 2 + 400_000 - 40 + 3), at=1000 + 400_000 + 3) == first  # 100 ppm of drift
    assert lineage.see(Sighting(1, 2), at=1000 + 400_000 + 6) != first


def test_an_instance_never_comes_back() -> None:
    lineage = Lineage()
    seen = [lineage.see(Sighting(1, 1), at=at) for at in (100, 200, 300)]
    assert [instance.number for instance in seen] == [1, 2, 3]
