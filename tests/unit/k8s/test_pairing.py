"""Which DPU a Host has: what its Node says, and what is said where it says nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dpucsi.aio import wait_until
from dpucsi.k8s import KubeApi, Node, Pairing
from dpucsi.k8s.pairing import dpu_of
from dpucsi.testing.fake_kube import NODES, FakeKube

DPU_NODE, DPU_ENDPOINT = "csi.dpucsi.io/dpu-node", "csi.dpucsi.io/dpu-endpoint"


@pytest.mark.parametrize(
    ("host", "dpu", "endpoint", "missing"),
    [
        (None, None, "", "there is no Node host-a"),
        (Node("host-a", "10.0.0.1", "", ""), None, "", f"label it {DPU_NODE}="),
        (Node("host-a", "", "tcp://dpu:50051", ""), None, "tcp://dpu:50051", ""),
        (Node("host-a", "", "tcp://dpu:50051", "dpu-a"), None, "tcp://dpu:50051", ""),
        (Node("host-a", "", "", "dpu-a"), None, "", "no such Node"),
        (Node("host-a", "", "", "dpu-a"), Node("dpu-a", "", "", ""), "", "InternalIP"),
        (Node("host-a", "", "", "dpu-a"), Node("dpu-a", "10.0.0.2", "", ""), "tcp://10.0.0.2:7", ""),
        (Node("host-a", "", "", "dpu-a"), Node("dpu-a", "fd00::2", "", ""), "tcp://[fd00::2]:7", ""),
    ],
)
def test_what_the_nodes_say(host: Node | None, dpu: Node | None, endpoint: str, missing: str) -> None:
    found, why = dpu_of("host-a", host, dpu, 7)
    assert found == endpoint
    assert missing in why
    assert bool(found) != bool(why)


@pytest.fixture
async def pairing(api: KubeApi) -> AsyncIterator[Pairing]:
    pairing = Pairing(api, "host-a", 50051)
    running = asyncio.create_task(pairing.run())
    yield pairing
    running.cancel()
    await asyncio.wait([running])


async def comes_to(pairing: Pairing, endpoint: str = "", missing: str = "") -> None:
    async def same() -> bool | None:
        return (pairing.endpoint == endpoint and missing in pairing.missing) or None

    await wait_until(same, f"{endpoint or missing}, not {pairing.endpoint or pairing.missing}", timeout_s=10)


async def node(
    kube: FakeKube, name: str, ip: str = "", labels: dict[str, str] | None = None, **annotations: str
) -> None:
    metadata = {"labels": labels or {}, "annotations": annotations}
    await kube.put(NODES, name, metadata=metadata, status={"addresses": [{"type": "InternalIP", "address": ip}]})


async def test_it_follows_every_change(kube: FakeKube, pairing: Pairing) -> None:
    await comes_to(pairing, missing="there is no Node host-a")
    await node(kube, "host-a")
    await comes_to(pairing, missing=DPU_NODE)
    await node(kube, "host-a", labels={DPU_NODE: "dpu-a"})
    await comes_to(pairing, missing="no such Node")
    await node(kube, "dpu-a", "10.0.0.2")
    await comes_to(pairing, "tcp://10.0.0.2:50051")
    await node(kube, "dpu-a", "10.0.0.3")
    await comes_to(pairing, "tcp://10.0.0.3:50051")
    await node(kube, "dpu-b", "10.0.0.4")
    await node(kube, "host-a", labels={DPU_NODE: "dpu-b"})
    await comes_to(pairing, "tcp://10.0.0.4:50051")
    await node(kube, "host-a", labels={DPU_NODE: "dpu-b"}, **{DPU_ENDPOINT: "tcp://dpu.example:1"})
    await comes_to(pairing, "tcp://dpu.example:1")
    await node(kube, "host-a")
    await comes_to(pairing, missing=DPU_NODE)


async def test_it_asks_for_these_nodes_alone(kube: FakeKube, pairing: Pairing) -> None:
    await node(kube, "host-a", labels={DPU_NODE: "dpu-a"})
    await node(kube, "dpu-a", "10.0.0.2")
    await comes_to(pairing, "tcp://10.0.0.2:50051")
    assert all("fieldSelector=metadata.name%3D" in request for request in kube.requests)


async def test_an_outage_keeps_the_last_word(kube: FakeKube, pairing: Pairing) -> None:
    await node(kube, "host-a", labels={DPU_NODE: "dpu-a"})
    await node(kube, "dpu-a", "10.0.0.2")
    await comes_to(pairing, "tcp://10.0.0.2:50051")
    await kube.stop()
    await comes_to(pairing, "tcp://10.0.0.2:50051")
    await node(kube, "dpu-a", "10.0.0.3")
    await kube.start()
    await comes_to(pairing, "tcp://10.0.0.3:50051")
