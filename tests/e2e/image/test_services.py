"""The services run from the image as the chart runs them: its root read-only, and no more rights than each needs."""

import tomllib
from pathlib import Path

import pytest
from tests.e2e.image.conftest import CHECKOUT
from tests.e2e.image.image import ROOT, SBOM, Image

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.testing.lab import SERVICES, Lab
from dpucsi.testing.orchestrator import Claim, Orchestrator, block_capability, mount_capability
from dpucsi.testing.snapshot import State, comes_to

SCRIPTS = sorted(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_program_says_how_it_is_used(image: Image, script: str) -> None:
    ended = image.run(script, "--help")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("usage:")
    assert ended.stderr == ""


def test_the_user_is_nobody_and_the_root_is_read_only(image: Image) -> None:
    assert image.run("id").stdout == "uid=65532(dpucsi) gid=65532(dpucsi) groups=65532(dpucsi)\n"
    for folder in ("/", "/opt/dpucsi", "/var/lib/dpucsi"):
        assert "Read-only file system" in image.run("touch", f"{folder}/file").stderr
    assert "CapBnd:\t0000000000000000" in image.run("cat", "/proc/self/status", privileges=ROOT).stdout


@pytest.mark.parametrize("program", ["mkfs.ext4", "mkfs.xfs", "resize2fs", "xfs_growfs", "blkid", "mount", "umount"])
def test_what_formats_and_mounts_is_there(image: Image, program: str) -> None:
    assert image.run(program, "-V").returncode != 127, f"{program} is missing"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_has_the_rights_of_its_pod(image: Image, lab: Lab, service: str) -> None:
    process = Path("/proc", str(lab.processes[service].pid))
    assert (process / "root" / SBOM).samefile(image.root / SBOM), f"{service} does not run in the image"
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert status["Uid"].split()[1] == ("65532" if service == "csi-controller" else "0")
    assert (int(status["CapEff"], 16) == 0) == (service != "csi-node-host")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_is_healthy(image: Image, lab: Lab, service: str) -> None:
    tls = lab.certificates.options("host") if service == "csi-node-dpu" else []
    probe = image.run("dpucsi-health", f"--endpoint={lab.endpoint(service)}", *tls, privileges=ROOT)
    # The DPU's root has no way into a socket of the controller's user, and need not: each pod probes its own.
    if service == "csi-controller":
        assert probe.returncode == 1
        probe = image.run("dpucsi-health", f"--endpoint={lab.endpoint(service)}")
    assert probe.returncode == 0, probe.stderr


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "capability",
    [
        pytest.param(mount_capability("ext4"), id="ext4"),
        pytest.param(mount_capability("xfs"), id="xfs"),
        pytest.param(block_capability(), id="block"),
    ],
)
async def test_one_volume_all_the_way_and_back(
    lab: Lab,
    orchestrator: Orchestrator,
    baseline: State,
    request: pytest.FixtureRequest,
    capability: csi_pb2.VolumeCapability,
) -> None:
    claim = Claim(f"image-{request.node.callspec.id}", size_bytes=400 << 20, capability=capability)
    for _, act in orchestrator.forward(claim):
        await act()
    target = orchestrator.target_path(claim)
    if target.is_dir():
        assert target.is_mount()
        (target / "file").write_bytes(b"x" * 4096)
    else:
        assert target.is_block_device()
    for _, act in orchestrator.back(claim):
        await act()
    await comes_to(lab, baseline)
