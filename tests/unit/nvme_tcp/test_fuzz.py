from benchmarks.fuzz_host import fuzz_host
from benchmarks.fuzz_pdus import fuzz

SECONDS, SEED = 3.0, 20
CASES_AT_LEAST, HOST_CASES_AT_LEAST = 50, 5  # on a busy machine


async def test_a_few_seconds_of_spoilt_pdus_find_nothing() -> None:
    """The same cases each time; `python -m benchmarks.fuzz_pdus` has others."""
    found = await fuzz(SEED, SECONDS)
    assert not found.failures, found.describe()
    assert found.cases >= CASES_AT_LEAST, found.describe()
    assert found.songs > 0
    assert any(outcome.startswith("terminated") for outcome in found.outcomes)


async def test_a_few_seconds_of_nonsense_from_a_controller_find_nothing() -> None:
    found = await fuzz_host(SEED, SECONDS)
    assert not found.failures, found.describe()
    assert found.cases >= HOST_CASES_AT_LEAST, found.describe()
