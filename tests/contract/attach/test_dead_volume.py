"""A volume that lost its storage for good, with I/O of the Host waiting for it: a detach does not wait with it.

SPDK ends nvmf_subsystem_remove_ns when the I/O of that namespace has ended, and I/O without a path ends after
--fast-io-fail-timeout. The Host is an NVMe/TCP initiator of ours; the emulator always, a real `spdk_tgt` where SPDK_TGT
names one.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.contract.chain.test_chain import Chain

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.attacher.v1 import attacher_pb2
from dpucsi.nvme_tcp.host import ConnectionLostError, HostController
from dpucsi.nvme_tcp.status import NvmeError
from dpucsi.spdk import nvme, nvmf
from dpucsi.testing.lab import DPU_UUID, Lab
from dpucsi.testing.snapshot import comes_to, snapshot
from dpucsi.testing.spdk_command import real_spdk

HOST = "nqn.2014-08.org.nvmexpress:uuid:6b1c5d0e-0000-4000-8000-000000000001"
QUICK_S = 6.0
NEVER_S = ("--fast-io-fail-timeout", "60")


@pytest.fixture(params=["emulator", "real"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    if request.param == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    if os.geteuid() != 0:
        pytest.skip("a real spdk_tgt needs root")
    root = Path(tempfile.mkdtemp(prefix="dpucsi-dead-"))
    spdk_tgt = real_spdk() if request.param == "real" else None
    lab = Lab(root, spdk_tgt=spdk_tgt, driver="nvmf-tcp", extra={"opi-bridge": NEVER_S})
    try:
        await lab.up()
        yield lab
    finally:
        lab.down()
    shutil.rmtree(root)


async def connected(lab: Lab, disk: attacher_pb2.Disk) -> HostController:
    """The Host of the DPU's nvmf-tcp front end."""
    nqn = naming.host_subnqn(DPU_UUID, disk.function)
    async with lab.spdk("dpu") as spdk:
        subsystem = await nvmf.find_subsystem(spdk, nqn)
    assert subsystem is not None
    address = subsystem.listen_addresses[0]
    loop = asyncio.get_running_loop()
    return await HostController.connect(
        lambda protocol: loop.create_connection(protocol, address.traddr, int(address.trsvcid)),
        subnqn=nqn,
        hostnqn=HOST,
        hostid=uuid4(),
        kato_ms=60_000,
        on_namespaces=lambda: None,
        on_lost=lambda: None,
    )


async def path_is_lost(lab: Lab, uuid: UUID) -> None:
    async with lab.spdk("dpu") as spdk:

        async def lost() -> bool | None:
            remote = await nvme.find_nvme_controller(spdk, naming.opi_remote_controller(uuid))
            return remote is None or all(path.state != nvme.ENABLED for path in remote.paths) or None

        await wait_until(lost, "the DPU noticing that it was cut off", timeout_s=10)


@pytest.mark.parametrize("placement", ["shared", "exclusive"])
async def test_a_detach_does_not_wait_for_i_o_without_a_path(lab: Lab, placement: str) -> None:
    chain = Chain(lab)
    before = await snapshot(lab)
    claim = await chain.published("dead", placement=placement)
    disk = await chain.attach(claim)
    host = await connected(lab, disk)
    await host.write(disk.nsid, 0, b"x" * 4096)
    await chain.orchestrator.unpublish(claim)
    await path_is_lost(lab, naming.VolumeId.parse(claim.volume_id).uuid)
    waiting = asyncio.create_task(host.write(disk.nsid, 4096, b"y" * 4096))

    began = time.monotonic()
    await chain.detach(claim)
    assert time.monotonic() - began < QUICK_S
    with pytest.raises((NvmeError, ConnectionLostError)):
        await waiting

    host.abort()
    await chain.orchestrator.publish(claim)  # and its place can be taken again
    again = await chain.attach(claim)
    assert again == disk
    await chain.detach(claim)
    await chain.gone(claim)
    await comes_to(lab, before)
    await chain.close()
