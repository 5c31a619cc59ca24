"""What the kernel learns of a target: discovery, identity, who may come in, how it leaves."""

import pytest
from tests.contract.nvme_tcp.storage_node import HOST, STRANGER, StorageNode
from tests.e2e.guest.guest import MACHINE
from tests.e2e.guest.linux_host import HOST_ID, LinuxHost

from dpucsi.aio import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_discovery_lists_the_subsystem_at_each_of_its_listeners(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8, listeners=2)
    where = ("-t", "tcp", "-a", MACHINE, "-s", export.addresses[0].trsvcid, "--hostnqn", HOST, "--hostid", HOST_ID)
    records = (await host.nvme("discover", *where))["records"]
    found = {record["trsvcid"].strip() for record in records if record["subnqn"] == export.nqn}
    assert found == {address.trsvcid for address in export.addresses}
    assert {record["subtype"] for record in records if record["subnqn"] == export.nqn} == {"nvme subsystem"}
    assert {record["trtype"] for record in records} == {"tcp"}


async def test_the_kernel_shows_the_identity_that_the_target_was_given(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = await host.connect(export)
    disk = await host.disk(export.uuid)
    assert disk.attributes["nguid"].replace("-", "") == export.nguid
    assert disk.attributes["wwid"] == f"uuid.{export.uuid}"
    assert disk.attributes["queue/logical_block_size"] == "4096"
    assert disk.attributes["ro"] == "0"
    assert disk.size == export.size
    assert await host.attribute(controller, "subsysnqn") == export.nqn
    assert await host.attribute(controller, "serial") == export.serial_number
    assert await host.attribute(controller, "model") == "SPDK bdev Controller"
    assert await host.attribute(controller, "state") == "live"
    assert await host.attribute(controller, "cntrltype") == "io"
    assert await storage.hosts_connected(export) == [HOST]


async def test_every_page_that_nvme_cli_asks_for_is_answered(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = f"/dev/{await host.connect(export)}"
    disk = await host.disk(export.uuid)
    identity = await host.nvme("id-ctrl", controller)
    assert identity["subnqn"] == export.nqn
    assert identity["sn"].strip() == export.serial_number
    assert (identity["sqes"], identity["cqes"]) == (0x66, 0x44)
    assert identity["ioccsz"] * 16 >= 64
    assert identity["sgls"] & 1
    namespace = await host.nvme("id-ns", disk.path)
    assert namespace["nsze"] * 4096 == export.size
    described = await host.sh(f"nvme ns-descs {disk.path}")
    assert export.uuid in described
    assert export.nguid in described
    assert (await host.nvme("list-ns", controller))["nsid_list"] == [{"nsid": 1}]
    assert (await host.nvme("smart-log", controller))["critical_warning"] == 0
    for page in ("error-log", "fw-log", "ana-log"):
        assert await host.sh(f"nvme {page} {controller} -o json"), page
    for register in (0x0, 0x8, 0x14, 0x1C):  # CAP, VS, CC, CSTS
        assert "value" in await host.sh(f"nvme get-property {controller} --offset={register}")
    features = await host.sh(f"for f in 0x7 0xb 0xf; do nvme get-feature {controller} -f $f || exit 1; done")
    assert features.count("get-feature:") == 3


async def test_a_host_that_is_not_allowed_is_told_so(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    mark = await host.mark()
    status, _ = await host.run(
        f"nvme connect -t tcp -a {MACHINE} -s {export.addresses[0].trsvcid} -n {export.nqn} "
        f"--hostnqn {STRANGER} --hostid {HOST_ID}"
    )
    assert status != 0
    # The kernel's words for status 184h, Connect Invalid Host.
    assert f"is not allowed, hostnqn: {STRANGER}" in await host.said_since(mark)
    assert await storage.hosts_connected(export) == []


async def test_a_subsystem_that_does_not_exist_is_refused(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    mark = await host.mark()
    status, _ = await host.run(
        f"nvme connect -t tcp -a {MACHINE} -s {export.addresses[0].trsvcid} -n {export.nqn}-2 "
        f"--hostnqn {HOST} --hostid {HOST_ID}"
    )
    assert status != 0
    assert "Connect Invalid Data Parameter" in await host.said_since(mark)


@pytest.mark.parametrize("io_queues", [1, 4])
async def test_disconnect_ends_the_session_in_order(host: LinuxHost, storage: StorageNode, io_queues: int) -> None:
    export = await storage.export_file(8)
    await host.connect(export, io_queues=io_queues)
    await host.disk(export.uuid)
    mark = await host.mark()
    await host.disconnect(export)
    await host.no_disk(export.uuid)

    async def left() -> bool | None:
        return True if await storage.hosts_connected(export) == [] else None

    await wait_until(left, "the end of the session at the target", timeout_s=5)
    said = await host.said_since(mark)
    assert "Device not ready" not in said, "the shutdown notification was not answered"
    assert "error" not in said.lower()


async def test_a_reset_connects_again_with_the_same_disk(host: LinuxHost, storage: StorageNode) -> None:
    export = await storage.export_file(8)
    controller = await host.connect(export)
    before = await host.disk(export.uuid)
    await host.sh(f"nvme reset /dev/{controller}")
    await host.state(controller, "live")
    assert await host.disk(export.uuid) == before
    await host.sh(f"dd if=/dev/urandom of={before.path} bs=64k count=1 oflag=direct 2>&1")
