"""The informer and the rest against a real kube-apiserver and etcd, which are killed and compacted meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from tests.contract.k8s.control_plane import ControlPlane

from dpucsi.aio import wait_until
from dpucsi.errors import FailedPreconditionError, NotFoundError
from dpucsi.k8s import Cluster, KubeApi, LeaseLeadership, Pairing, connect
from dpucsi.k8s.errors import ExpiredError

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

DRIVER = "csi.dpucsi.io"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"


def attachment(name: str, driver: str = DRIVER, finalizers: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": name, "finalizers": list(finalizers)},
        "spec": {"attacher": driver, "nodeName": "host-a", "source": {"persistentVolumeName": f"pv-{name}"}},
    }


def volume(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "csi": {"driver": DRIVER, "volumeHandle": "pool-a/x"},
        },
    }


def node(name: str, address: str = "", **labels: str) -> dict[str, Any]:
    named = {f"csi.dpucsi.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": named}}


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(api: KubeApi, control_plane: ControlPlane) -> AsyncIterator[Cluster]:
    cluster = Cluster(api, DRIVER)
    running = asyncio.create_task(cluster.run())
    await asyncio.wait_for(cluster.synced(), 30)
    yield cluster
    running.cancel()
    await asyncio.wait([running])
    control_plane.kubectl("delete", "volumeattachments,persistentvolumes,nodes", "--all", "--wait=false")


async def shows(cluster: Cluster, *names: str) -> None:
    async def same() -> bool | None:
        return set(cluster.attachments.items) == set(names) or None

    await wait_until(same, f"{names}, not {set(cluster.attachments.items)}", timeout_s=30)


async def test_what_is_there_and_what_changes(cluster: Cluster, control_plane: ControlPlane) -> None:
    control_plane.apply(attachment("a"), attachment("foreign", "other.example.com"), volume("pv-a"))
    await shows(cluster, "a")
    metadata = '{"status":{"attached":true,"attachmentMetadata":{"hostnqn":"one"}}}'
    control_plane.kubectl("patch", "volumeattachment", "a", "--subresource=status", "--type=merge", f"-p={metadata}")

    async def attached() -> bool | None:
        return cluster.attachments.items["a"].stands or None

    await wait_until(attached, "attached", timeout_s=10)
    assert cluster.attachments.items["a"].metadata == {"hostnqn": "one"}
    assert cluster.attachments.items["a"] == await cluster.attachment_now("a")
    assert cluster.volumes.items["pv-a"].shared
    control_plane.kubectl("delete", "volumeattachment", "a")
    await shows(cluster)
    assert await cluster.attachment_now("a") is None
    assert await cluster.attachment_now("foreign") is None


async def test_a_deletion_is_seen_before_it_is_over(cluster: Cluster, control_plane: ControlPlane) -> None:
    """The finalizer of the external-attacher holds the object until the volume is detached."""
    control_plane.apply(attachment("held", finalizers=("external-attacher/csi-dpucsi-io",)))
    await shows(cluster, "held")
    control_plane.kubectl("delete", "volumeattachment", "held", "--wait=false")
    found = await cluster.attachment_now("held")
    assert found is not None
    assert found.deleting
    control_plane.kubectl("patch", "volumeattachment", "held", "--type=merge", '-p={"metadata":{"finalizers":null}}')
    await shows(cluster)


async def test_the_api_server_is_killed(cluster: Cluster, control_plane: ControlPlane) -> None:
    control_plane.apply(attachment("a"), attachment("b"))
    await shows(cluster, "a", "b")
    control_plane.api_server.kill()
    await control_plane.start_api_server()
    control_plane.kubectl("delete", "volumeattachment", "a")
    control_plane.apply(attachment("c"))
    await shows(cluster, "b", "c")


async def test_history_is_compacted_while_nobody_watches(cluster: Cluster, control_plane: ControlPlane) -> None:
    control_plane.apply(attachment("a"))
    await shows(cluster, "a")
    control_plane.api_server.kill()
    await control_plane.start_api_server()
    control_plane.kubectl("delete", "volumeattachment", "a")
    control_plane.compact()
    control_plane.api_server.kill()
    await control_plane.start_api_server()
    await shows(cluster)


async def test_a_watch_from_a_version_that_is_gone(api: KubeApi, control_plane: ControlPlane) -> None:
    """How a real one says so."""
    version = (await api.get(ATTACHMENTS))["metadata"]["resourceVersion"]
    for number in range(3):
        control_plane.apply(attachment(f"old-{number}"))
    control_plane.compact()
    control_plane.api_server.kill()  # its own cache would still know
    await control_plane.start_api_server()
    with pytest.raises(ExpiredError):
        async for _ in api.watch(ATTACHMENTS, {}, version):
            pass
    control_plane.kubectl("delete", "volumeattachments", "--all")


async def test_lists_in_pages(cluster: Cluster, api: KubeApi, control_plane: ControlPlane) -> None:
    control_plane.apply(*(attachment(f"a{number:04}") for number in range(501)))
    pages = [page async for page in api.pages(ATTACHMENTS, {})]
    assert [len(page["items"]) for page in pages] == [500, 1]
    await shows(cluster, *(f"a{number:04}" for number in range(501)))


async def test_the_lease_of_the_external_attacher(api: KubeApi, control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "dpucsi")
    leadership = LeaseLeadership(api, "dpucsi", "external-attacher-leader-csi-dpucsi-io", "me.example")
    assert await leadership.validity() == 0
    renewed = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec = {"holderIdentity": "me-example", "leaseDurationSeconds": 15, "renewTime": renewed}
    metadata = {"name": "external-attacher-leader-csi-dpucsi-io", "namespace": "dpucsi"}
    control_plane.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    assert await asyncio.wait_for(leadership.new_term(), 20) == 1


async def test_pairing(api: KubeApi, control_plane: ControlPlane) -> None:
    pairing = Pairing(api, "host-a", 50051)
    running = asyncio.create_task(pairing.run())

    async def comes_to(endpoint: str, missing: str) -> None:
        async def same() -> bool | None:
            return (pairing.endpoint == endpoint and missing in pairing.missing) or None

        await wait_until(same, f"{endpoint} or {missing}, not {pairing.missing}", timeout_s=20)

    control_plane.apply(node("host-a"))
    await comes_to("", "label it csi.dpucsi.io/dpu-node")
    control_plane.apply(node("host-a", dpu_node="dpu-a"), node("dpu-a"))
    await comes_to("", "InternalIP")
    address = '{"status":{"addresses":[{"type":"InternalIP","address":"10.99.0.21"}]}}'
    control_plane.kubectl("patch", "node", "dpu-a", "--subresource=status", "--type=merge", f"-p={address}")
    await comes_to("tcp://10.99.0.21:50051", "")
    control_plane.kubectl("annotate", "node", "host-a", "csi.dpucsi.io/dpu-endpoint=tcp://dpu.example:50051")
    await comes_to("tcp://dpu.example:50051", "")
    running.cancel()
    await asyncio.wait([running])


async def test_what_is_not_there_and_what_is_not_allowed(api: KubeApi, control_plane: ControlPlane) -> None:
    with pytest.raises(NotFoundError):
        await api.get(f"{ATTACHMENTS}/no-such")
    stranger = control_plane.folder / "stranger.kubeconfig"
    stranger.write_text(control_plane.kubeconfig.read_text().replace(control_plane.token, control_plane.stranger_token))
    strangers = await connect(stranger)
    with pytest.raises(FailedPreconditionError, match=r"cannot list resource .*volumeattachments"):
        await strangers.get(ATTACHMENTS)
    await strangers.close()
