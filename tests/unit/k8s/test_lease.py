"""Who may act: whoever the external-attacher's Lease says, for as long as nobody else can take it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dpucsi.errors import UnavailableError
from dpucsi.k8s import KubeApi, LeaseLeadership, SoleLeadership, attacher_lease
from dpucsi.k8s import lease as lease_module
from dpucsi.k8s.lease import MARGIN_S, lease_name, seconds_left
from dpucsi.testing.fake_kube import LEASES, FakeKube

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = attacher_lease("csi.dpucsi.io")


def test_names_are_those_of_csi_lib_utils() -> None:
    assert NAME == "external-attacher-leader-csi-dpucsi-io"
    assert lease_name("node.example.com.") == "node-example-com-X"


def lease(holder: str = "me", age_s: float = 0, **spec: Any) -> dict[str, Any]:
    renewed = (NOW - timedelta(seconds=age_s)).isoformat().replace("+00:00", "Z")
    return {"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15, **spec}}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (lease(), 15 - MARGIN_S),
        (lease(age_s=5), 10 - MARGIN_S),
        (lease(age_s=15 - MARGIN_S), 0),
        (lease(age_s=1000), 0),
        (lease(age_s=-1000), 15 - MARGIN_S),
        (lease("somebody else"), 0),
        (lease(""), 0),
        (lease(renewTime=None), 0),
        (lease(leaseDurationSeconds=None), 0),
        (lease(leaseDurationSeconds=1), 0),  # released on exit
        ({}, 0),
    ],
)
def test_how_long_it_is_held(found: dict[str, Any], left: float) -> None:
    assert seconds_left(found, "me", NOW) == left


async def hold(kube: FakeKube, holder: str) -> None:
    spec = lease(holder)["spec"] | {"renewTime": datetime.now(UTC).isoformat()}
    await kube.put(LEASES, NAME, spec=spec)


async def test_many_questions_are_one_request(kube: FakeKube, api: KubeApi) -> None:
    await hold(kube, "me")
    leadership = LeaseLeadership(api, "default", NAME, "me")
    assert all(await asyncio.gather(*(leadership.validity() for _ in range(50))))
    assert len(kube.requests) == 1


async def test_terms(kube: FakeKube, api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost and won again is a new term, for what the other one did in between is not known here."""
    monkeypatch.setattr(lease_module, "POLL_S", 0.02)
    monkeypatch.setattr(lease_module, "FRESH_S", 0.0)
    leadership = LeaseLeadership(api, "default", NAME, "me")
    waiting = asyncio.create_task(leadership.new_term())
    assert await leadership.validity() == 0
    await hold(kube, "me")
    assert await asyncio.wait_for(waiting, 10) == 1
    again = asyncio.create_task(leadership.new_term(1))
    await hold(kube, "somebody-else")
    assert await leadership.validity() == 0
    assert not again.done()
    await hold(kube, "me")
    assert await asyncio.wait_for(again, 10) == 2


async def test_an_api_server_that_is_away_is_not_a_no(
    kube: FakeKube, api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "POLL_S", 0.02)
    await hold(kube, "me")
    leadership = LeaseLeadership(api, "default", NAME, "me")
    await kube.stop()
    with pytest.raises(UnavailableError):
        await leadership.validity()
    waiting = asyncio.create_task(leadership.new_term())
    await asyncio.sleep(0)
    await kube.start()
    assert await asyncio.wait_for(waiting, 10) == 1


async def test_a_sole_replica_leads() -> None:
    leadership = SoleLeadership()
    assert await leadership.validity() > 0
    assert await leadership.new_term() == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(leadership.new_term(1), 0.01)
