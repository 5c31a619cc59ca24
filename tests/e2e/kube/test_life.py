"""One claim through its whole life."""

from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space, is_gone


async def test_what_one_host_writes_the_other_one_reads_and_nothing_is_left(space: Space):
    await space.claim("data")
    pv = await space.bound("data")
    write = shell("dd if=/dev/urandom of=/data/file bs=1M count=8 conv=fsync; sha256sum < /data/file > /tmp/result")
    await space.pod("writer", write, claim="data", node="host-a", once=True)
    written = await space.result("writer")
    await space.delete_pod("writer")
    await space.pod("reader", shell("sha256sum < /data/file > /tmp/result"), claim="data", node="host-b", once=True)
    assert await space.result("reader") == written != ""
    await space.delete_pod("reader")
    await space.lab.kubectl.delete("pvc", "data", namespace=space.namespace)
    await space.until("pv", pv, is_gone, "deletion with its claim")


async def test_a_deleted_namespace_takes_its_volumes_along(space: Space):
    await space.claim("data")
    pv = await space.bound("data")
    await space.pod("user", shell("sleep 3600"), claim="data")
    await space.running("user")
    await space.lab.kubectl.delete("namespace", space.namespace)
    await space.until("pv", pv, is_gone, "deletion with its namespace")
    await space.until("namespace", space.namespace, is_gone, "end")
