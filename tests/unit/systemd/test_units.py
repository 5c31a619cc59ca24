"""The units of a DPU outside the cluster: systemd takes them, and the services take their options."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from csi_node_dpu.config import Config as NodeDpuConfig
from dpucsi.config import load
from opi_bridge.config import Config as BridgeConfig
from volume_attacher.config import Config as AttacherConfig

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
INSTALLED = "/opt/dpucsi/bin/"
CONFIGS = {"opi-bridge": BridgeConfig, "volume-attacher": AttacherConfig, "csi-node-dpu": NodeDpuConfig}


def environment() -> dict[str, str]:
    """What the environment file says."""
    lines = (FOLDER / "dpucsi.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def command(unit: str) -> list[str]:
    """Program and options of a unit, as systemd starts them."""
    text = (FOLDER / f"{unit}.service").read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart="))
    for name, value in environment().items():
        words = [word.replace(f"${{{name}}}", value) for word in words]
    return words


@pytest.mark.parametrize("unit", CONFIGS)
def test_options_are_those_of_the_service(unit: str):
    """The real parser with the environment file; it ends the process where something is wrong."""
    program, *options = command(unit)
    assert program == INSTALLED + unit
    load(CONFIGS[unit], prog=unit, description="", argv=options, environ=environment())


def test_the_units_find_each_other():
    assert "unix:///run/dpucsi/opi-bridge.sock" in command("volume-attacher")
    assert command("opi-bridge")[2] == "unix:///run/dpucsi/opi-bridge.sock"
    assert command("volume-attacher")[2] in command("csi-node-dpu")
    same = [words[words.index("--dpu-uuid") + 1] for words in map(command, ("volume-attacher", "csi-node-dpu"))]
    assert len(set(same)) == 1


def test_systemd_takes_them(tmp_path: Path):
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    units = []
    for unit in CONFIGS:
        copy = tmp_path / f"{unit}.service"
        # It also looks whether the program is there.
        copy.write_text((FOLDER / copy.name).read_text().replace(INSTALLED + unit, sys.executable))
        units.append(str(copy))
    ended = subprocess.run([verifier, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
