"""What users do with claims: every way to ask for a volume and to use it."""

from tests.e2e.kube import objects
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space, is_gone, phase_is, ready_replicas

WRITE = shell("echo of $(date +%s) > /data/file; cat /data/file | tee /tmp/result")
READ = shell("cat /data/file > /tmp/result")


async def test_data_of_one_pod_is_read_by_the_next_on_the_other_host(space: Space):
    await space.claim("data")
    await space.pod("first", WRITE, claim="data", node="host-a", once=True)
    wrote = await space.result("first")
    await space.delete_pod("first")
    await space.pod("second", READ, claim="data", node="host-b", once=True)
    assert await space.result("second") == wrote != ""


async def test_a_claim_that_waits_for_its_first_consumer(space: Space):
    await space.apply(objects.storage_class(f"{space.namespace}-wait", wait=True, backend="pool-b", fstype="xfs"))
    await space.claim("late", f"{space.namespace}-wait", size="320Mi")
    await space.says("PersistentVolumeClaim", "late", "WaitForFirstConsumer")
    await space.pod("user", shell("stat -f -c %T /data > /tmp/result"), claim="late", once=True)
    assert await space.result("user") == "xfs"
    assert await space.bound("late")


async def test_a_retained_volume_outlives_its_claim_and_can_be_had_again(space: Space):
    await space.apply(objects.storage_class(f"{space.namespace}-keep", retain=True, backend="pool-a"))
    await space.claim("kept", f"{space.namespace}-keep")
    await space.pod("first", WRITE, claim="kept", once=True)
    wrote = await space.result("first")
    pv = await space.bound("kept")
    await space.delete_pod("first")
    await space.lab.kubectl.delete("pvc", "kept", namespace=space.namespace)
    await space.until("pv", pv, phase_is("Released"), "release")
    await space.lab.kubectl("patch", "pv", pv, "-p", '{"spec":{"claimRef":null}}')
    await space.until("pv", pv, phase_is("Available"), "Available")
    spec = objects.claim_spec(f"{space.namespace}-keep", "128Mi") | {"volumeName": pv}
    await space.apply(objects.claim("again", spec))
    assert await space.bound("again") == pv
    # Not before: the external-provisioner would delete it as one that is Released still.
    await space.lab.kubectl("patch", "pv", pv, "-p", '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')
    await space.pod("second", READ, claim="again", once=True)
    assert await space.result("second") == wrote
    await space.delete_pod("second")
    await space.lab.kubectl.delete("pvc", "again", namespace=space.namespace)
    await space.until("pv", pv, is_gone, "deletion with the last claim")


async def test_a_stateful_set_of_ten(space: Space):
    command = shell("hostname > /data/name; sync /data/name; sleep infinity")
    spec = objects.pod_spec(command, volumes=[])
    await space.apply(objects.stateful_set("ten", 10, spec, objects.claim_spec("pool-a", "64Mi")))
    ready = await space.until("statefulset", "ten", lambda it: ready_replicas(it) == 10, "10 ready pods", 240)
    assert ready["status"]["readyReplicas"] == 10
    pods = await space.items("pod", "app=ten")
    assert {pod["spec"]["nodeName"] for pod in pods} == {"host-a", "host-b"}
    await space.lab.kubectl.delete("statefulset", "ten", namespace=space.namespace)


async def test_a_generic_ephemeral_volume_goes_with_its_pod(space: Space):
    template = {"spec": objects.claim_spec("pool-b", "64Mi")}
    volumes = [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]
    await space.pod("scratch", shell("df /data > /tmp/result"), volumes=volumes, once=True)
    assert "/data" in await space.result("scratch")
    pv = await space.bound("scratch-data")
    await space.delete_pod("scratch")
    await space.until("pv", pv, is_gone, "deletion with the pod")


async def test_a_raw_block_volume_moves_with_its_bytes(space: Space):
    await space.claim("raw", block=True)
    write = shell("test -b /dev/data; echo raw bytes | dd of=/dev/data conv=fsync 2>/dev/null; echo ok > /tmp/result")
    await space.pod("first", write, claim="raw", node="host-a", once=True, block=True)
    assert await space.result("first") == "ok"
    await space.delete_pod("first")
    read = shell("head -c 9 /dev/data > /tmp/result")
    await space.pod("second", read, claim="raw", node="host-b", once=True, block=True)
    assert await space.result("second") == "raw bytes"


async def test_a_read_only_pod_reads_and_cannot_write(space: Space):
    await space.claim("data")
    await space.pod("first", WRITE, claim="data", once=True)
    wrote = await space.result("first")
    await space.delete_pod("first")
    script = "! touch /data/new 2>/tmp/why; grep -q 'Read-only' /tmp/why; cat /data/file > /tmp/result"
    await space.pod("reader", shell(script), volumes=[objects.of_claim("data", read_only=True)], once=True)
    assert await space.result("reader") == wrote


async def test_sub_paths_of_one_volume(space: Space):
    await space.claim("data")
    await space.pod("one", shell("echo 1 > /data/it"), claim="data", once=True, mount={"subPath": "first"})
    await space.result("one")
    await space.delete_pod("one")
    await space.pod(
        "two", shell("test ! -e /data/it; echo 2 > /data/it"), claim="data", once=True, mount={"subPath": "b"}
    )
    await space.result("two")
    await space.delete_pod("two")
    await space.pod("all", shell("cat /data/first/it /data/b/it > /tmp/result"), claim="data", once=True)
    assert (await space.result("all")).split() == ["1", "2"]


async def test_fs_group_lets_an_ordinary_user_write(space: Space):
    await space.claim("data")
    security = {"runAsUser": 1234, "runAsGroup": 1234, "fsGroup": 4321, "runAsNonRoot": True}
    script = "touch /data/mine; stat -c '%u %g' /data/mine > /tmp/result"
    await space.pod("user", shell(script), claim="data", once=True, security=security)
    assert await space.result("user") == "1234 4321"
