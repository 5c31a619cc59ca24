"""Every container of the chart: confined, watched, bounded; and run with options that its program has."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.unit.chart.chart import (
    CERT_MANAGER,
    EVERYTHING,
    LAB,
    OUTSIDE,
    Container,
    containers,
    of_kind,
    render,
)

from csi_controller.config import Config as ControllerConfig
from csi_node_dpu.config import Config as NodeDpuConfig
from csi_node_host.config import Config as NodeHostConfig
from dpucsi.config import load
from dpucsi.csi import topology
from dpucsi.testing.kube.tools import tool
from opi_bridge.config import Config as BridgeConfig
from volume_attacher.config import Config as AttacherConfig

CONFIGS = {
    "csi-controller": ControllerConfig,
    "csi-node-host": NodeHostConfig,
    "csi-node-dpu": NodeDpuConfig,
    "volume-attacher": AttacherConfig,
    "opi-bridge": BridgeConfig,
}
SIDECARS = ("csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter")
PRIVILEGED = {"csi-node-host", "spdk"}  # the one mounts, the other drives PCI devices
ROOT = {"csi-node-host", "spdk", "node-driver-registrar", "csi-node-dpu", "volume-attacher", "opi-bridge"}
UNWATCHED = {
    "writes-and-reads",  # ends by itself
    "livenessprobe",  # is the probe
    "spdk",  # its liveness is not for a probe to decide
}


def all_containers() -> list[Container]:
    found = {}
    for values, options in ((LAB, EVERYTHING), (OUTSIDE, ()), (CERT_MANAGER, EVERYTHING)):
        for container in containers(render(values, *options)):
            found[f"{container} of {values.name}"] = container
    return list(found.values())


def test_security_contexts():
    for container in all_containers():
        own = container.spec["securityContext"]
        pod = container.pod["securityContext"]
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, container
        if container.name in PRIVILEGED:
            continue
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container
        if container.name not in ROOT and container.workload != "dpucsi-host":
            assert pod["runAsNonRoot"] and pod["runAsUser"], container


def test_privileged_is_who_has_to_be():
    privileged = {one.name for one in all_containers() if one.spec["securityContext"].get("privileged")}
    assert privileged == PRIVILEGED


def test_every_container_has_resources():
    for container in all_containers():
        resources = container.spec["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"]), container
        assert "memory" in resources["limits"], container


def test_every_container_is_watched():
    for container in all_containers():
        if container.name in UNWATCHED:
            continue
        if container.name == "node-driver-registrar" and "--http-endpoint" not in str(container.args):
            continue  # the lab's stand-in has no health port
        assert "livenessProbe" in container.spec, container
        if container.name in CONFIGS:
            assert "startupProbe" in container.spec, container


def test_probes_ask_where_the_service_listens():
    for container in all_containers():
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.spec.get(kind, {})
            if "exec" in probe and container.name in CONFIGS:
                program, endpoint = probe["exec"]["command"]
                assert program == "dpucsi-health"
                assert endpoint.replace("--endpoint=", "--listen=") in container.args, container
            if "httpGet" in probe:
                port = probe["httpGet"]["port"]
                served = [arg for other in container.pod["containers"] for arg in other.get("args", [])]
                address = probe["httpGet"].get("host", "")
                assert f"--http-endpoint={address}:{port}" in served, container


def test_liveness_comes_from_the_sidecar_where_there_is_one():
    def probes(*options: str):
        found = {one.name: one for one in containers(render(LAB, *options))}
        return [next(iter(found[name].spec["livenessProbe"])) for name in ("csi-controller", "csi-node-host")]

    assert probes("--set", "sidecars.livenessProbe.enabled=true") == ["httpGet", "httpGet"]
    assert probes("--set", "sidecars.livenessProbe.enabled=false") == ["exec", "exec"]


def test_readiness_is_left_out_on_request():
    (bridge,) = [one for one in containers(render(CERT_MANAGER)) if one.name == "opi-bridge"]
    assert "readinessProbe" in bridge.spec
    (bridge,) = [one for one in containers(render(LAB)) if one.name == "opi-bridge"]
    assert "readinessProbe" not in bridge.spec


def test_volumes_and_variables_fit():
    for container in all_containers():
        for mount in container.spec["volumeMounts"]:
            assert mount["name"] in container.volumes, container
            assert "subPath" not in mount, container  # what is renewed would not arrive
        given = {one["name"] for one in container.spec.get("env", [])}
        used = set(re.findall(r"\$\((\w+)\)", str(container.spec.get("args", ""))))
        assert used <= given, container
    for values in (LAB, OUTSIDE, CERT_MANAGER):
        pods = {id(one.pod): one.pod for one in containers(render(values, *EVERYTHING))}
        for pod in pods.values():
            mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("values", [LAB, OUTSIDE, CERT_MANAGER], ids=lambda file: file.name)
def test_options_are_those_of_the_service(values: Path):
    """The real parser with the real checks; it ends the process where something is wrong."""
    found = {one.name: one for one in containers(render(values)) if one.name in CONFIGS}
    assert set(found) == ({"csi-controller", "csi-node-host"} if values is OUTSIDE else set(CONFIGS))
    for name, container in found.items():
        assert container.spec["command"] == [name]
        load(CONFIGS[name], prog=name, description="", argv=container.args, environ={})


def test_files_of_options_are_mounted():
    """Every absolute path that an option names lies in something mounted, and in nothing read-only where it is made."""
    for container in all_containers():
        if container.name not in CONFIGS:
            continue
        mounts = {Path(mount["mountPath"]) for mount in container.spec["volumeMounts"]}
        for arg in container.args:
            for path in re.findall(r"(?:=|unix://)(/[^/].*)$", arg):
                assert any(Path(path).is_relative_to(mount) for mount in mounts), (container, arg)


@pytest.mark.parametrize("name", SIDECARS)
def test_options_are_those_of_the_sidecar(name: str):
    if not os.access(tool(name), os.X_OK):
        pytest.skip(f"no {name} in $TOOLS_HOME/bin: run 'make kube-tools'")
    shown = subprocess.run([tool(name), "--help"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^ +(?:-\w, )?--?([a-z][a-z-]*)", shown.stderr + shown.stdout, re.MULTILINE))
    (container,) = [one for one in containers(render(LAB, *EVERYTHING)) if one.name == name]
    assert {arg.lstrip("-").partition("=")[0] for arg in container.args} <= known


def test_no_renewal_of_ours_touches_spdk():
    """Another version of our image, and other values of ours, leave SPDK's pods as they are."""

    def spdk(*options: str):
        (found,) = of_kind(render(CERT_MANAGER, *EVERYTHING, *options), "DaemonSet", "dpucsi-spdk")
        return found["spec"]

    assert spdk()["updateStrategy"] == {"type": "OnDelete"}
    assert spdk() == spdk("--set", "image.tag=9.9.9", "--set", "logLevel=debug", "--set", "tls.mode=secrets")


def test_roles_are_chosen_by_the_label_that_volumes_ask_for():
    objects = render(CERT_MANAGER)
    (hosts,) = of_kind(objects, "DaemonSet", "dpucsi-host")
    assert hosts["spec"]["template"]["spec"]["nodeSelector"][topology.ROLE] == topology.HOST
    (dpus,) = of_kind(objects, "DaemonSet", "dpucsi-dpu")
    assert dpus["spec"]["template"]["spec"]["nodeSelector"][topology.ROLE] == "dpu"
    (controller,) = of_kind(objects, "Deployment")
    assert topology.ROLE in str(controller["spec"]["template"]["spec"]["affinity"]["nodeAffinity"])


def test_replicas_share_no_host_port_and_may_be_drained():
    objects = render(CERT_MANAGER)
    (deployment,) = of_kind(objects, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == 2
    assert not pod.get("hostNetwork")
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    (policy,) = of_kind(objects, "NetworkPolicy")
    selected = deployment["spec"]["selector"]["matchLabels"]
    assert budget["spec"]["selector"]["matchLabels"] == policy["spec"]["podSelector"]["matchLabels"] == selected
    assert budget["spec"]["maxUnavailable"] == 1
    for arg in ("--leader-election",):
        assert all(arg in one["args"] for one in pod["containers"] if one["name"] in SIDECARS)
