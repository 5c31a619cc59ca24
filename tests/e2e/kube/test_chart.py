"""The chart on a live cluster: the API server takes it, every right it gives is used, `helm test` passes."""

import json

import pytest
from tests.e2e.kube import objects
from tests.e2e.kube.rights import granted, used
from tests.e2e.kube.space import Space, is_gone, restarts

from dpucsi.aio import wait_until
from dpucsi.spdk.nvmf import nvmf_get_subsystems
from dpucsi.testing.kube.chart import CHART, RELEASE
from dpucsi.testing.kube.control_plane import CHART_NAMESPACE
from dpucsi.testing.kube.lab import HOSTS, KubeLab
from dpucsi.testing.kube.tools import tool, tools_home

CRDS = tools_home() / "cert-manager"
VALUES = ("values-lab.yaml", "examples/dpus-outside.yaml", "examples/cert-manager.yaml")
ACCOUNTS = ("dpucsi-controller", "dpucsi-host", "dpucsi-dpu")
SLEEP = ["sleep", "infinity"]
THICK = "10Gi"  # two of them are more than a store of the lab has
USED_S = 90.0


@pytest.fixture
async def cert_manager(kube_lab: KubeLab):
    """The definitions of cert-manager's objects, without cert-manager."""
    if not CRDS.exists():
        pytest.skip(f"no {CRDS}: run 'make kube-tools'")
    await kube_lab.kubectl("apply", "--server-side", "-f", str(CRDS))
    await kube_lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    yield
    await kube_lab.kubectl("delete", "-f", str(CRDS))


@pytest.mark.parametrize("values", VALUES)
async def test_the_api_server_takes_all_of_it(kube_lab: KubeLab, cert_manager: None, values: str):
    """A dry run on the server, with strict checks of every field, as another release beside the lab's."""
    rendered = await kube_lab.kubectl.run(
        tool("helm"), "template", "dry", str(CHART), "--namespace", "default", "--values", str(CHART / values)
    )
    said = await kube_lab.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)
    assert len(said.splitlines()) == rendered.count("\nkind: ")
    assert said.count("(server dry run)") == len(said.splitlines())


async def test_helm_test_passes_and_leaves_nothing(kube_lab: KubeLab, space: Space):
    said = await kube_lab.kubectl.run(
        tool("helm"), "test", RELEASE, "--namespace", CHART_NAMESPACE, "--timeout", "120s"
    )
    assert "Phase:          Succeeded" in said, said
    for kind in ("pod", "pvc"):
        await kube_lab.kubectl.until(
            kind, "dpucsi-test", is_gone, f"deletion of the {kind}", namespace=CHART_NAMESPACE, timeout_s=60
        )


async def test_renewed_certificates_are_taken_up_without_a_restart(kube_lab: KubeLab, space: Space):
    """Even of another CA, on both sides at once."""
    before = await running_pods(kube_lab)
    await kube_lab.chart.renew_certificates()
    # The kubelet looks at a pod's Secrets once a minute, and when the pod changes.
    await kube_lab.kubectl("annotate", "pod", "--all", "-n", CHART_NAMESPACE, "--overwrite", "looked-at=now")
    for node in HOSTS:
        await space.claim(node)
        await space.pod(node, SLEEP, node=node)
        await space.running(node)
    for end, container in (("host", "csi-node-host"), ("dpu", "csi-node-dpu")):

        async def told(end: str = end, container: str = container) -> bool | None:
            selector = f"app.kubernetes.io/component={end}"
            where = ("-n", CHART_NAMESPACE, "-l", selector, "-c", container, "--tail=-1")
            return (await kube_lab.kubectl("logs", *where)).count("TLS files renewed") >= len(HOSTS) or None

        await wait_until(told, f"renewed files in each {container}", timeout_s=120, longest_s=2.0)
    assert await running_pods(kube_lab) == before


async def test_every_right_is_used_and_none_lacks(kube_lab: KubeLab, space: Space):
    """Volumes come and go, one does not fit after all, a storage node forgets an export: then nothing is left over."""
    await everything_happens(space)
    roles, bindings = [], []
    for kind in ("role", "clusterrole"):
        roles += await items(kube_lab, kind)
        bindings += await items(kube_lab, f"{kind}binding")
    given = granted(roles, bindings, ACCOUNTS)
    assert len(given) > 30
    audit_log = kube_lab.root / "log" / "audit.json"

    async def all_used() -> bool | None:
        return given <= used(audit_log)[0] or None

    try:
        await wait_until(all_used, "use of every right", timeout_s=USED_S, longest_s=2.0)
    finally:
        allowed, forbidden = used(audit_log)
        assert [str(right) for right in sorted(given - allowed)] == []
    assert [str(right) for right in sorted(forbidden)] == []
    assert not any(right.account == "dpucsi-dpu" for right in allowed | given)


async def everything_happens(space: Space) -> None:
    """What makes the sidecars use their rarer rights, beside what any volume needs."""
    await space.claim("huge", size="64Ti")
    await said_again(space, "huge")
    await space.lab.kubectl.delete("pvc", "huge", namespace=space.namespace)
    thick = f"{space.namespace}-thick"
    await space.apply(objects.storage_class(thick, wait=True, backend="pool-b", thin="false"))
    await capacities_of(space, thick, 1)
    # The scheduler compares each claim of a pod with what is free; the second volume to be made finds that it does not
    # fit, and its claim is given back to the scheduler, which knows better by then.
    for name in ("one", "other"):
        await space.claim(name, thick, size=THICK)
    both = [objects.of_claim("one"), objects.of_claim("other") | {"name": "other"}]
    await space.pod("both", SLEEP, volumes=both)
    await space.says("Pod", "both", "did not have enough free storage", timeout_s=90)
    await space.claim("small", thick)
    await space.pod("small", SLEEP)
    await space.running("small")
    storage = space.lab.processes["storage-b"]
    storage.kill()
    await space.lab.start("storage-b")
    await exported_again(space)
    for name in ("both", "small"):
        await space.delete_pod(name)
    for name in ("one", "other", "small"):
        await space.lab.kubectl.delete("pvc", name, namespace=space.namespace)
    await space.lab.kubectl.delete("storageclass", thick)
    await capacities_of(space, thick, 0)


async def capacities_of(space: Space, storage_class: str, count: int) -> None:
    """Waits until so many CSIStorageCapacities tell of a class."""

    async def look() -> bool | None:
        found = await space.lab.kubectl.get("csistoragecapacities", namespace=CHART_NAMESPACE)
        told = [one for one in (found or {"items": []})["items"] if one["storageClassName"] == storage_class]
        return len(told) == count or None

    await wait_until(look, f"{count} CSIStorageCapacity of {storage_class}", timeout_s=60, longest_s=1.0)


async def said_again(space: Space, claim: str) -> None:
    """Waits until the provisioner, which tries again, counts an event instead of making another one."""

    async def look() -> bool | None:
        found = await space.lab.kubectl.get(
            "events", namespace=space.namespace, field_selector=f"involvedObject.name={claim},reason=ProvisioningFailed"
        )
        return any(one.get("count", 1) > 1 for one in (found or {"items": []})["items"]) or None

    await wait_until(look, f"an event of claim {claim} that is counted", timeout_s=60, longest_s=1.0)


async def exported_again(space: Space) -> None:
    """Waits until the restarted storage node lets somebody in again."""
    async with space.lab.spdk("storage-b") as spdk:

        async def look() -> bool | None:
            return any(subsystem.hosts for subsystem in await nvmf_get_subsystems(spdk)) or None

        await wait_until(look, "the export back on storage-b", timeout_s=60, longest_s=0.5)


async def running_pods(lab: KubeLab) -> dict[str, int]:
    """The release's pods, and how often containers of each were started again."""
    found = await lab.kubectl.get("pod", namespace=CHART_NAMESPACE)
    return {pod["metadata"]["name"]: restarts(pod) for pod in (found or {"items": []})["items"]}


async def items(lab: KubeLab, kind: str) -> list[objects.Object]:
    """Everything of a kind that the release made."""
    text = await lab.kubectl(
        "get", kind, "-n", CHART_NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "json"
    )
    return list(json.loads(text)["items"])
