"""Wrong things: each is said in words that tell a human what to do, and loses nothing."""

from tests.e2e.kube import objects
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space, is_gone, ready_replicas

SLEEP = ["sleep", "infinity"]


async def test_an_unknown_parameter_of_the_storage_class(space: Space):
    await space.apply(objects.storage_class(f"{space.namespace}-odd", backend="pool-a", replicas="3"))
    await space.claim("odd", f"{space.namespace}-odd")
    await space.says("PersistentVolumeClaim", "odd", "parameter 'replicas' is unknown", "correct the StorageClass")


async def test_a_storage_backend_that_is_not_there(space: Space):
    await space.apply(objects.storage_class(f"{space.namespace}-gone", backend="pool-z"))
    await space.claim("gone", f"{space.namespace}-gone")
    await space.says("PersistentVolumeClaim", "gone", "pool-z", "pool-a, pool-b")


async def test_a_claim_larger_than_the_store(space: Space):
    await space.claim("huge", size="64Ti")
    await space.says("PersistentVolumeClaim", "huge", "larger than the whole lvol store", "ask for less")


async def test_a_secret_without_a_namespace(space: Space):
    broken = objects.storage_class(f"{space.namespace}-secret", backend="pool-a")
    broken["parameters"]["csi.storage.k8s.io/provisioner-secret-name"] = "lonely"
    await space.apply(broken)
    await space.claim("lonely", f"{space.namespace}-secret")
    await space.says("PersistentVolumeClaim", "lonely", "secret")


async def test_pods_beyond_the_attach_limit_wait_and_then_run(space: Space):
    """The scheduler counts by CSINode.spec.drivers[].allocatable.count, which is what the DPU can carry."""
    node = await space.get("csinode", "host-a")
    (driver,) = [one for one in node["spec"]["drivers"] if one["name"] == objects.DRIVER]
    limit = driver["allocatable"]["count"]
    spec = objects.pod_spec(SLEEP, volumes=[], node="host-a")
    await space.apply(objects.stateful_set("many", limit + 2, spec, objects.claim_spec("pool-a", "32Mi")))
    await space.until("statefulset", "many", lambda it: ready_replicas(it) == limit, f"{limit} ready pods", 300)
    pods = await space.items("pod", "app=many")
    waiting = [pod["metadata"]["name"] for pod in pods if not pod["spec"].get("nodeName")]
    assert len(waiting) == 2
    # Not an event: the recorder keeps the first message of a series, that the claim was not bound yet.
    await space.until("pod", waiting[0], _says_why, "the reason", 60)
    await space.lab.kubectl("scale", "statefulset", "many", "-n", space.namespace, f"--replicas={limit}")
    # The highest ordinals go: whoever of them runs makes room, whoever waits disappears.
    await space.until(
        "statefulset", "many", lambda it: ready_replicas(it) == limit, f"the remaining {limit} ready", 120
    )
    await space.lab.kubectl.delete("statefulset", "many", namespace=space.namespace)


def _says_why(found):
    conditions = found["status"].get("conditions", []) if found else []
    return any("exceed max volume count" in one.get("message", "") for one in conditions)


async def test_a_deleted_volume_whose_pod_is_still_there_is_kept_for_it(space: Space):
    await space.claim("data")
    await space.pod("user", shell("while :; do date > /data/now; sync /data/now; sleep 0.2; done"), claim="data")
    await space.running("user")
    pv = await space.bound("data")
    await space.lab.kubectl.delete("pv", pv)
    await space.lab.kubectl.delete("pvc", "data", namespace=space.namespace)
    await space.until("pvc", "data", lambda it: bool(it and it["metadata"].get("deletionTimestamp")), "deletion mark")
    seen = await space.running("user")
    assert seen["status"]["containerStatuses"][0]["restartCount"] == 0
    volume = await space.get("pv", pv)
    assert volume["metadata"]["finalizers"]
    await space.delete_pod("user")
    await space.until("pv", pv, is_gone, "deletion after its pod")
