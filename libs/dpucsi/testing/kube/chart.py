"""The product's Helm chart in a lab: which images there are, the values, and the installation."""

import base64
import compileall
import json
import sys
from pathlib import Path
from typing import Any

import dpucsi
from dpucsi.testing.certificates import Certificates
from dpucsi.testing.kube.control_plane import CHART_NAMESPACE
from dpucsi.testing.kube.kubectl import Kubectl, Object
from dpucsi.testing.kube.tools import tool, tools_home

CHECKOUT = Path(dpucsi.__path__[0]).parents[1]
CHART = CHECKOUT / "deploy" / "helm" / "dpucsi"
RELEASE = "dpucsi"
SIDECARS = ("csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter", "snapshot-controller")
REGISTRAR = {"csi-node-driver-registrar": "csi-registrar"}  # a stand-in
MOCK = "mock-csi"  # the driver that benchmarks/kube.py compares with
DPU_NAME = "dpucsi-dpu"  # as the chart's tls.dpuName says unless it is told otherwise
ROLLOUT_S = 120


def write_images(path: Path) -> None:
    """Writes lab-cri's file: what the base name of an image means on this machine."""
    programs = [str(tools_home() / "bin")]
    entrypoints = {name: name for name in (*SIDECARS, MOCK)} | REGISTRAR
    images: dict[str, Any] = {
        name: {"entrypoint": [tool(program)], "binds": programs} for name, program in entrypoints.items()
    }
    python = dict.fromkeys(str(Path(folder)) for folder in (sys.prefix, sys.base_prefix, CHECKOUT))
    images["dpucsi"] = {
        "path": [str(Path(sys.executable).parent)],
        "binds": [folder for folder in python if not Path(folder).is_relative_to("/usr")],
    }
    images["busybox"] = {}
    path.write_text(json.dumps({"images": images}, indent=1))


def compile_services() -> None:
    """Compiles the checkout's modules, once: containers see them read-only, and each would compile them anew."""
    for folder in ("libs", "services"):
        compileall.compile_dir(CHECKOUT / folder, quiet=1)


class Chart:
    """The release of the chart in a lab's cluster."""

    def __init__(self, root: Path, kubectl: Kubectl, values: Object) -> None:
        self._kubectl = kubectl
        self._folder = root / "chart"
        self._tls = self._folder / "tls"
        self._values = values

    async def install(self, more: Object | None = None) -> None:
        """Installs or upgrades it with values-lab.yaml, the lab's own values and `more`; certificates stay."""
        self._folder.mkdir(exist_ok=True)
        values = self._folder / "values.json"
        values.write_text(json.dumps({"tls": {"mode": "secrets", "dpuName": DPU_NAME}} | self._values | (more or {})))
        await self._kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CHART_NAMESPACE}})
        if not self._tls.exists():
            await self.renew_certificates()
        files = ("--values", str(CHART / "values-lab.yaml"), "--values", str(values))
        where = ("--namespace", CHART_NAMESPACE)
        await self._kubectl.run(tool("helm"), "upgrade", "--install", RELEASE, str(CHART), *where, *files)

    async def renew_certificates(self) -> None:
        """New ones, of a new CA. Host and DPU do not trust each other until the kubelets have brought them to both."""
        await self._kubectl.apply(*self._secrets())

    async def ready(self) -> None:
        """Returns when every pod of it is as new as it should be, and Ready."""
        listed = await self._kubectl("get", "deployment,daemonset", "-n", CHART_NAMESPACE, "-o", "name")
        for name in listed.split():
            await self._kubectl("rollout", "status", name, "-n", CHART_NAMESPACE, f"--timeout={ROLLOUT_S}s")

    def _secrets(self) -> list[Object]:
        folder = Certificates.make(self._tls, "dpucsi-host", DPU_NAME).folder
        return [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": f"dpucsi-{end}-tls", "namespace": CHART_NAMESPACE},
                "data": {
                    "ca.crt": _base64(folder / "ca.pem"),
                    "tls.crt": _base64(folder / f"{end}.pem"),
                    "tls.key": _base64(folder / f"{end}.key"),
                },
            }
            for end in ("host", "dpu")
        ]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
