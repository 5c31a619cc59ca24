import json
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from dpucsi.observe import SECRET_KEYS, redact

CANARY = "canary-7f3a"
# Hypothesis tries words of the source too: "key" is one of them.
names = st.text(max_size=5).filter(lambda name: name.lower() not in SECRET_KEYS)
nested = st.recursive(
    st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


@given(nested)
def test_what_holds_no_secret_stays(value: object) -> None:
    assert redact(value) == value


@given(st.sampled_from(sorted(SECRET_KEYS)), st.integers(0, 4))
def test_a_secret_is_hidden_however_deep(key: str, depth: int) -> None:
    value: object = {key.upper(): CANARY, "name": "x"}
    for _ in range(depth):
        value = {"inner": [value]}
    assert CANARY not in repr(redact(value))
    assert "name" in repr(redact(value))


def test_a_log_line_is_json_with_its_context_and_without_secrets() -> None:
    program = (
        "import structlog, logging; from dpucsi import observe\n"
        "observe.configure('svc', log_format='json', log_level='info')\n"
        "with observe.bound(volume_id='pool/1'):\n"
        f"    structlog.get_logger('x').info('attached', params={{'psk': '{CANARY}', 'name': 'n'}})\n"
        "    logging.getLogger('library').warning('from a library')\n"
        "    structlog.get_logger('x').debug('too low')\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    ours, library = (json.loads(line) for line in said.splitlines())
    assert ours["service"] == library["service"] == "svc"
    assert ours["volume_id"] == library["volume_id"] == "pool/1"
    assert (ours["event"], ours["level"], library["event"]) == ("attached", "info", "from a library")
    assert CANARY not in said
