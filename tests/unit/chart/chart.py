"""The chart as `helm` renders it: its objects, and the containers in them."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dpucsi.testing.kube.tools import tool

Object = dict[str, Any]
REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "deploy" / "helm" / "dpucsi"
LAB = CHART / "values-lab.yaml"
OUTSIDE = CHART / "examples" / "dpus-outside.yaml"
CERT_MANAGER = CHART / "examples" / "cert-manager.yaml"
VALUES_FILES = (LAB, OUTSIDE, CERT_MANAGER)
KUBE_VERSION = "1.37"  # what a helm without a cluster takes for it depends on how it was built
WORKLOADS = ("Deployment", "DaemonSet")
# Everything that a switch of the chart adds.
EVERYTHING = (
    *("--set", "sidecars.resizer.enabled=true", "--set", "sidecars.snapshotter.enabled=true"),
    *("--set", "dpu.spdk.deploy=true", "--set", "dpu.spdk.image=spdk:1"),
    *("--set", "volumeSnapshotClasses[0].name=snap", "--set", "volumeAttributesClasses[0].name=fast"),
    *("--set-string", "volumeAttributesClasses[0].parameters.iops=1000"),
)


class ChartError(Exception):
    """What helm said."""


def helm_is_there() -> bool:
    """Whether there is a helm to render with."""
    return os.access(tool("helm"), os.X_OK)


def helm(command: str, values: Path | None, *options: str) -> str:
    """Runs `helm template` or `helm lint`; raises ChartError with its words."""
    argv = [tool("helm"), command]
    if command == "template":
        argv += ["dpucsi", "--namespace", "storage"]
    argv += [str(CHART), "--kube-version", KUBE_VERSION]
    if values is not None:
        argv += ["--values", str(values)]
    ended = subprocess.run([*argv, *options], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ChartError(ended.stderr + ended.stdout)
    return ended.stdout


def render(values: Path | None, *options: str) -> list[Object]:
    """All objects."""
    return [found for found in yaml.safe_load_all(helm("template", values, *options)) if found]


def of_kind(objects: Sequence[Object], kind: str, name: str = "") -> list[Object]:
    """Those of one kind, of one name where one is given."""
    return [one for one in objects if one["kind"] == kind and name in ("", one["metadata"]["name"])]


@dataclass(frozen=True)
class Container:
    """One container and the pod that it is in."""

    workload: str
    pod: Object  # the pod's spec
    spec: Object

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.spec["name"])

    def __str__(self) -> str:
        return f"{self.workload}/{self.name}"

    @property
    def volumes(self) -> dict[str, Object]:
        """The pod's volumes by name."""
        return {volume["name"]: volume for volume in self.pod["volumes"]}

    @property
    def args(self) -> list[str]:
        """Its options, with what the kubelet replaces replaced."""
        values = {"$(HOST_IP)": "192.0.2.101", "$(NODE_NAME)": "host-a", "$(NAMESPACE)": "storage"}
        found = list(self.spec.get("args", []))
        for variable, value in values.items():
            found = [arg.replace(variable, value) for arg in found]
        return found


def containers(objects: Sequence[Object]) -> Iterator[Container]:
    """Every container of every Deployment, DaemonSet and bare Pod."""
    for one in objects:
        if one["kind"] in WORKLOADS:
            pod = one["spec"]["template"]["spec"]
        elif one["kind"] == "Pod":
            pod = one["spec"]
        else:
            continue
        for container in pod["containers"]:
            yield Container(one["metadata"]["name"], pod, container)
