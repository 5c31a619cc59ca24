"""The CSI project's own conformance suite, 5.6, against the running suite."""

import asyncio
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from dpucsi.testing.lab import Lab
from dpucsi.testing.snapshot import comes_to, snapshot

TOOLS = Path(os.environ.get("TOOLS_HOME", Path.home() / ".cache" / "dpucsi-tools"))
SANITY = TOOLS / "bin" / "csi-sanity"


@pytest.mark.timeout(300)
async def test_csi_sanity() -> None:
    assert SANITY.exists(), f"{SANITY} is missing: run `make csi-sanity`"
    root = Path(tempfile.mkdtemp(prefix="dpucsi-sanity-"))
    lab = Lab(root)
    try:
        await lab.up()
        before = await snapshot(lab)
        sanity = await asyncio.create_subprocess_exec(
            str(SANITY),
            f"--csi.endpoint={lab.endpoint('csi-node-host')}",
            f"--csi.controllerendpoint={lab.endpoint('csi-controller')}",
            f"--csi.stagingdir={root}/sanity-staging",
            f"--csi.mountdir={root}/sanity-target",
            f"--csi.testvolumesize={256 << 20}",
            "--ginkgo.no-color",
            "--ginkgo.v",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await sanity.communicate())[0].decode()
        print(said)
        assert sanity.returncode == 0, said[-6000:]
        ran = re.search(r"Ran (\d+) of (\d+) Specs.*\n.*?(\d+) Passed \| (\d+) Failed.*?(\d+) Skipped", said)
        assert ran, said[-2000:]
        assert int(ran[4]) == 0
        assert int(ran[3]) >= 47
        await comes_to(lab, before)
    finally:
        lab.down()
    shutil.rmtree(root)
