"""volume-attacher and opi-bridge together: whatever the layer below loses, the records bring back the same disk.

The emulator always; a real `spdk_tgt` where SPDK_TGT names one.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.chain.test_chain import Chain

from dpucsi.aio import wait_until
from dpucsi.api.attacher.v1 import attacher_pb2
from dpucsi.errors import BusyError, UnavailableError
from dpucsi.testing.lab import Lab
from dpucsi.testing.orchestrator import Claim
from dpucsi.testing.snapshot import State, comes_to, snapshot
from dpucsi.testing.spdk_command import real_spdk


@pytest.fixture(params=["emulator-emulated", "real-nvmf-tcp"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    kind, _, driver = request.param.partition("-")
    if kind == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    if os.geteuid() != 0:
        pytest.skip("the emulated card's loop devices need root")
    root = Path(tempfile.mkdtemp(prefix="dpucsi-attach-"))
    lab = Lab(root, spdk_tgt=real_spdk() if kind == "real" else None, driver=driver)
    try:
        await lab.up()
        yield lab
    finally:
        lab.down()
    shutil.rmtree(root)


async def retried(chain: Chain, claim: Claim) -> attacher_pb2.Disk:
    """As a CO retries: the attacher finds a restarted OPI server again within a second."""

    async def unless_away() -> attacher_pb2.Disk | None:
        try:
            return await chain.attach(claim)
        except (UnavailableError, BusyError):
            return None

    return await wait_until(unless_away, "attach", timeout_s=20)


async def shown(lab: Lab, *, disks: int) -> State:
    """The state once the Host has its disks, which come a moment behind the attach; a real spdk_tgt has no card."""
    wanted = 2 * disks if lab.spdk_tgt is None else 0  # each with its hidden path

    async def all_of_them() -> State | None:
        state = await snapshot(lab)
        return state if len(state["host namespaces"]) == wanted else None

    return await wait_until(all_of_them, f"{disks} disks on the Host", timeout_s=10)


@pytest.mark.parametrize(
    ("killed", "forgetful"),
    [
        (("volume-attacher",), False),
        (("opi-bridge",), False),
        (("opi-bridge", "volume-attacher"), False),
        (("opi-bridge", "dpu"), True),  # an OPI server that remembers nothing
    ],
)
async def test_the_same_disk_comes_back(lab: Lab, killed: tuple[str, ...], forgetful: bool) -> None:
    chain = Chain(lab)
    before = await snapshot(lab)
    claims = [await chain.published(f"lost-{placement}", placement=placement) for placement in ("shared", "exclusive")]
    disks = [await chain.attach(claim) for claim in claims]
    attached = await shown(lab, disks=len(claims))
    for name in killed:
        lab.processes[name].kill()
    if forgetful:
        for state in (lab.root / "state").glob("opi-bridge.db*"):
            state.unlink()
    for name in reversed(killed):
        await lab.start(name)
    await comes_to(lab, attached, timeout_s=60)
    assert [await retried(chain, claim) for claim in claims] == disks
    for claim in claims:
        await chain.detach(claim)
        await chain.gone(claim)
    await comes_to(lab, before)
    await chain.close()
