"""The chart takes what is right, and says in words what is wrong."""

import tomllib
from pathlib import Path

import pytest
from tests.unit.chart.chart import (
    CERT_MANAGER,
    CHART,
    EVERYTHING,
    LAB,
    OUTSIDE,
    REPOSITORY,
    VALUES_FILES,
    ChartError,
    helm,
    of_kind,
    render,
)
from yaml import safe_load

from csi_controller.parameters import parse_parameters
from dpucsi.backends import load_backends
from dpucsi.csi.identity import DRIVER_NAME


@pytest.mark.parametrize("values", [None, *VALUES_FILES], ids=lambda file: file.name if file else "defaults")
def test_lints(values):
    """Warnings count as errors. The defaults alone lack what only an admin can say, which is no fault of the chart."""
    assert "[WARNING]" not in helm("lint", values, "--strict")


def test_version_is_the_distributions():
    chart = safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["clusterId=kube-system"], ["/clusterId", "kube-system"]),
        (["contoller.replicas=3"], ["contoller"]),
        (["dpu.prot=50051"], ["/dpu", "prot"]),
        (["dpu.port=0"], ["/dpu/port"]),
        (["controller.replicas=0"], ["/controller/replicas"]),
        (["tls.mode=none"], ["/tls/mode"]),
        (["driverName=-x"], ["/driverName"]),
        (["dpu.transports[0]=tcp"], ["/dpu/transports/0"]),
        (["dpu.sharedFunctions[0]=0000:3b:00.0"], ["/dpu/sharedFunctions/0"]),
        (["dpu.driver.hostPaths[0]=run/card"], ["/dpu/driver/hostPaths/0"]),
        (["backends.Pool_A.type=spdk-lvol"], ["/backends", "Pool_A"]),
        (["backends.pool-c.lvstore=lvs0"], ["/backends/pool-c", "type"]),
        (["storageClasses[3].name=a", "storageClasses[3].fsType=btrfs"], ["/storageClasses/3/fsType"]),
        (["storageClasses[3].name=a", "storageClasses[3].allowVolumeExpansion=true"], ["allowVolumeExpansion"]),
        (["csiDriver.nodeAllocatableUpdatePeriodSeconds=5"], ["/csiDriver/nodeAllocatableUpdatePeriodSeconds"]),
        (["sidecars.timeout=75"], ["/sidecars/timeout"]),
        (["controller.extraArgs[0]=operation-limit"], ["/controller/extraArgs/0"]),
        (
            ["storageClasses[3].name=a", "storageClasses[3].backend=pool-x"],
            ["storageClasses a", "pool-x", "pool-a, pool-b"],
        ),
        (["storageClasses[3].name=a"], ["storageClasses a", "pool-a, pool-b"]),
        (["clusterId="], ["clusterId is missing", "kubectl get namespace kube-system"]),
        (["backends=null"], ["backends"]),
        (["dpu.driver.name="], ["dpu.driver.name is missing"]),
        (["dpu.spdk.deploy=true"], ["dpu.spdk.image is missing"]),
        (["tls.mode=certManager", "tls.dpuName="], ["tls.dpuName is empty"]),
    ],
    ids=lambda given: given[-1] if isinstance(given, list) else "",
)
def test_wrong_values_are_refused(options, words):
    settings = [word for option in options for word in ("--set", option)]
    with pytest.raises(ChartError) as refused:
        render(LAB, *settings)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("values", VALUES_FILES, ids=lambda file: file.name)
async def test_backends_and_classes_are_what_csi_controller_takes(values: Path, tmp_path: Path):
    """The ConfigMap through the real loader, each StorageClass through the real check of its parameters."""
    objects = render(values)
    (config,) = of_kind(objects, "ConfigMap")
    file = tmp_path / "backends.toml"
    file.write_text(config["data"]["backends.toml"])
    backends = load_backends(file)
    assert list(backends) == list(safe_load(values.read_text())["backends"])
    for storage_class in of_kind(objects, "StorageClass"):
        assert storage_class["provisioner"] == DRIVER_NAME
        assert parse_parameters(storage_class.get("parameters", {}), backends).backend in backends
    for backend in backends.values():
        await backend.close()


def test_backends_keep_every_kind_of_value(tmp_path: Path):
    settings = ['rpc=unix:///run/a \\"b\\".sock', "thin=true", "retries=4", "listeners={tcp://a:1,tcp://b:2}"]
    options = [word for one in settings for word in ("--set", f"backends.pool-a.{one}")]
    (config,) = of_kind(render(LAB, *options), "ConfigMap")
    table = tomllib.loads(config["data"]["backends.toml"])["pool-a"]
    assert (table["rpc"], table["thin"], table["retries"]) == ('unix:///run/a "b".sock', True, 4)
    assert table["listeners"] == ["tcp://a:1", "tcp://b:2"]


def test_changed_backends_roll_the_controller():
    def annotations(*options: str):
        (deployment,) = of_kind(render(LAB, *options), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]

    assert annotations() != annotations("--set", "backends.pool-a.lvstore=lvs1")
    assert annotations() == annotations("--set", "logLevel=debug")


def test_csi_driver_is_this_driver():
    (driver,) = of_kind(render(LAB), "CSIDriver")
    assert driver["metadata"]["name"] == DRIVER_NAME
    assert driver["spec"] == {
        "attachRequired": True,
        "podInfoOnMount": False,
        "fsGroupPolicy": "File",
        "storageCapacity": True,
        "seLinuxMount": True,
        "requiresRepublish": False,
        "volumeLifecycleModes": ["Persistent"],
        "nodeAllocatableUpdatePeriodSeconds": 60,
    }
    (older,) = of_kind(render(LAB, "--kube-version", "1.32"), "CSIDriver")
    assert "nodeAllocatableUpdatePeriodSeconds" not in older["spec"]


def test_classes_of_other_kinds_come_when_they_are_listed():
    for kind in ("VolumeSnapshotClass", "VolumeAttributesClass"):
        assert of_kind(render(LAB), kind) == []
        (found,) = of_kind(render(LAB, *EVERYTHING), kind)
        assert DRIVER_NAME in (found.get("driver"), found.get("driverName"))


def test_dpus_outside_the_cluster_have_no_pods():
    objects = render(OUTSIDE)
    assert [one["metadata"]["name"] for one in of_kind(objects, "DaemonSet")] == ["dpucsi-host"]
    assert not of_kind(objects, "ServiceAccount", "dpucsi-dpu")


def test_certificates_are_for_the_names_that_are_asked_for():
    objects = render(CERT_MANAGER)
    certificates = {one["spec"]["secretName"]: one["spec"] for one in of_kind(objects, "Certificate")}
    assert certificates["dpucsi-dpu-tls"]["dnsNames"] == ["dpucsi-dpu"]
    assert certificates["dpucsi-dpu-tls"]["issuerRef"] == {"name": "dpucsi-ca", "kind": "Issuer"}
    assert set(certificates["dpucsi-host-tls"]["usages"]) == {"server auth", "client auth"}
    own = render(CERT_MANAGER, "--set", "tls.certManager.issuerRef.name=mine")
    assert not of_kind(own, "Issuer")
    assert {one["spec"]["issuerRef"]["name"] for one in of_kind(own, "Certificate")} == {"mine"}
