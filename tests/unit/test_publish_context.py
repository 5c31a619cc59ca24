import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpucsi import naming
from dpucsi.csi import publish_context
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import AttachSpec, TargetPath

UUID_1 = UUID("11111111-2222-4333-8444-555555555555")


def spec(uuid: UUID = UUID_1) -> AttachSpec:
    return AttachSpec(
        uuid=uuid,
        subnqn=naming.subnqn(uuid),
        hostnqn=naming.hostnqn(UUID_1, "00c0ffee"),
        paths=(TargetPath("192.0.2.1", "4420"), TargetPath("2001:db8::1", "4421", adrfam="IPv6")),
        size_bytes=1 << 30,
    )


@given(st.uuids(), st.integers(0, 2**62))
def test_round_trip(uuid: UUID, size: int) -> None:
    whole = AttachSpec(uuid, naming.subnqn(uuid), naming.hostnqn(uuid, "00c0ffee"), spec().paths, size)
    encoded = publish_context.encode(whole)
    assert publish_context.decode(encoded) == whole
    assert sum(len(key) + len(value) for key, value in encoded.items()) <= publish_context.LIMIT


@pytest.mark.parametrize("key", ["transport", "subnqn", "hostnqn", "uuid", "paths"])
def test_each_key_is_needed_and_named(key: str) -> None:
    context = publish_context.encode(spec())
    del context[key]
    with pytest.raises(InvalidArgumentError, match=key):
        publish_context.decode(context)


def test_size_may_be_left_out() -> None:
    context = publish_context.encode(spec())
    del context["size"]
    assert publish_context.decode(context).size_bytes == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transport", "FC"),
        ("subnqn", "not-an-nqn"),
        ("subnqn", naming.subnqn(UUID(int=7))),
        ("hostnqn", "nqn.x y"),
        ("uuid", "zzz"),
        ("size", "-1"),
        ("size", "1e9"),
        ("size", "9" * 30),
        ("paths", "[]"),
        ("paths", "{"),
        ("paths", "[" * 2000),
        ("paths", json.dumps([{"traddr": "1.2.3.4"}])),
        ("paths", json.dumps([{"traddr": "host.example", "trsvcid": "4420"}])),
        ("paths", json.dumps([{"traddr": "192.0.2.1", "trsvcid": "70000"}])),
        ("paths", json.dumps([{"traddr": "192.0.2.1", "trsvcid": "4420"}] * 2)),
        ("paths", json.dumps(["192.0.2.1"])),
        ("paths", "7"),
    ],
)
def test_a_tampered_context_is_refused_and_the_key_is_named(key: str, value: str) -> None:
    context = publish_context.encode(spec()) | {key: value}
    with pytest.raises(InvalidArgumentError, match=key):
        publish_context.decode(context)


def test_an_oversized_context_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="4096"):
        publish_context.decode(publish_context.encode(spec()) | {"more": "x" * 5000})


@given(
    st.dictionaries(st.sampled_from(["transport", "subnqn", "hostnqn", "uuid", "size", "paths"]), st.text(max_size=50))
)
def test_nothing_but_an_invalid_argument_ever_comes_out(changes: dict[str, str]) -> None:
    try:
        publish_context.decode(publish_context.encode(spec()) | changes)
    except InvalidArgumentError:
        pass
