"""What an export lacks, decided without I/O."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from dpucsi import naming
from dpucsi.backends.spdk_export import Export, Gap
from dpucsi.errors import FailedPreconditionError
from dpucsi.model import TargetPath
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.nvmf import NvmfNamespace, Subsystem

VOLUME = UUID("6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10")
HOST = naming.hostnqn(UUID("0f0e0d0c-0b0a-4908-8706-050403020100"), "00c0ffee")
ONE, TWO = TargetPath("10.0.0.1", "4420"), TargetPath("fd00::1", "4420", adrfam="IPv6")
EXPORT = Export(VOLUME, "lvol-bdev", HOST, (ONE, TWO))
SHOWN = NvmfNamespace(1, "lvol-bdev", str(VOLUME), naming.nguid(VOLUME))
WHOLE = Subsystem(
    nqn=EXPORT.nqn,
    subtype="NVMe",
    listen_addresses=tuple(TransportAddress("TCP", one.traddr, one.trsvcid, one.adrfam) for one in (TWO, ONE)),
    allow_any_host=False,
    hosts=("nqn.2024-01.io.example:other", HOST),
    serial_number=naming.serial(VOLUME),
    model_number="whatever",
    max_namespaces=32,
    min_cntlid=1,
    max_cntlid=65519,
    namespaces=(SHOWN,),
)
ELSEWHERE = TransportAddress("TCP", "10.0.0.9", "4420", "IPv4")


@pytest.mark.parametrize(
    ("seen", "gap"),
    [
        (WHOLE, Gap()),
        (None, Gap(subsystem=True, namespace=True, hosts=(HOST,), listeners=(ONE, TWO))),
        (replace(WHOLE, hosts=()), Gap(hosts=(HOST,))),
        (replace(WHOLE, namespaces=()), Gap(namespace=True)),
        (replace(WHOLE, listen_addresses=WHOLE.listen_addresses[:1]), Gap(listeners=(ONE,))),
        (replace(WHOLE, listen_addresses=(*WHOLE.listen_addresses, ELSEWHERE)), Gap()),  # others may be using it
    ],
)
def test_gaps(seen: Subsystem | None, gap: Gap) -> None:
    assert EXPORT.gap(seen) == gap
    assert bool(gap) == (seen is not WHOLE and gap != Gap())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"allow_any_host": True}, "lets any host in"),
        ({"serial_number": "OTHER"}, "'OTHER'"),
        ({"namespaces": (replace(SHOWN, nsid=2),)}, "shows the namespaces"),
        ({"namespaces": (replace(SHOWN, bdev_name="another-bdev"),)}, "another-bdev"),
        ({"namespaces": (replace(SHOWN, uuid="1" * 8),)}, "1" * 8),
        ({"namespaces": (replace(SHOWN, nguid="0" * 32),)}, "0" * 32),
        ({"namespaces": (SHOWN, replace(SHOWN, nsid=2, bdev_name="more"))}, "more"),
    ],
)
def test_what_is_not_of_our_making_is_refused(change: dict[str, Any], found: str) -> None:
    with pytest.raises(FailedPreconditionError, match=found) as refused:
        EXPORT.gap(replace(WHOLE, **change))
    assert EXPORT.nqn in str(refused.value)


def test_a_gap_names_what_is_missing() -> None:
    words = str(Gap(True, True, (HOST,), (ONE,)))
    assert words == f"the subsystem, namespace 1, host {HOST}, listener TCP 10.0.0.1 4420"
