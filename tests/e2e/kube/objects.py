"""Kubernetes objects of the cases, as plain dictionaries."""

from typing import Any

Object = dict[str, Any]
DRIVER = "csi.dpucsi.io"
SHELL_IMAGE = "busybox"
PRODUCT_IMAGE = "dpucsi:lab"  # has Python and dpucsi.testing.writer
RESULT = "/tmp/result"  # what a pod writes there becomes its status message


def storage_class(name: str, *, wait: bool = False, retain: bool = False, **parameters: str) -> Object:
    """A StorageClass of our driver; `wait` binds with the first consumer, `fstype` is among the parameters."""
    fs_type = {"csi.storage.k8s.io/fstype": parameters.pop("fstype")} if "fstype" in parameters else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": DRIVER,
        "parameters": {**parameters, **fs_type},
        "reclaimPolicy": "Retain" if retain else "Delete",
        "volumeBindingMode": "WaitForFirstConsumer" if wait else "Immediate",
    }


def claim_spec(storage_class_name: str, size: str, *, block: bool = False, access: str = "ReadWriteOnce") -> Object:
    """The spec of a PersistentVolumeClaim."""
    return {
        "storageClassName": storage_class_name,
        "accessModes": [access],
        "volumeMode": "Block" if block else "Filesystem",
        "resources": {"requests": {"storage": size}},
    }


def claim(name: str, spec: Object) -> Object:
    """A PersistentVolumeClaim."""
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def of_claim(name: str, *, read_only: bool = False) -> Object:
    """A pod's volume `data` that is the claim `name`."""
    return {"name": "data", "persistentVolumeClaim": {"claimName": name, "readOnly": read_only}}


def pod_spec(
    command: list[str],
    *,
    volumes: list[Object],
    node: str = "",
    image: str = SHELL_IMAGE,
    once: bool = False,
    block: bool = False,
    mount: Object | None = None,
    security: Object | None = None,
) -> Object:
    """A pod with one container that has the volume `data` at /data, or as device /dev/data.

    `mount` adds to the volumeMount (subPath, readOnly), `security` is the pod's securityContext.
    """
    container: Object = {
        "name": "main",
        "image": image,
        "command": command,
        "terminationMessagePath": RESULT,
    }
    if block:
        container["volumeDevices"] = [{"name": "data", "devicePath": "/dev/data"}]
    else:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data", **(mount or {})}]
    spec: Object = {
        "containers": [container],
        "volumes": volumes,
        "restartPolicy": "Never" if once else "Always",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    if once:
        spec["tolerations"] = [_bears("not-ready"), _bears("unreachable")]
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    else:
        spec["nodeSelector"] = {f"{DRIVER}/role": "host"}
    if security:
        spec["securityContext"] = security
    return spec


def _bears(taint: str) -> Object:
    """Nobody makes a pod anew that runs once, so it bears a silent Node for as long as Kubernetes lets it by default.

    The lab's 10 s are for what moves to another Node.
    """
    key = f"node.kubernetes.io/{taint}"
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}


def pod(name: str, spec: Object, labels: dict[str, str] | None = None) -> Object:
    """A Pod."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def stateful_set(name: str, replicas: int, spec: Object, template: Object) -> Object:
    """A StatefulSet whose pods start together, each with a claim of its own that goes with the set."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "template": {"metadata": {"labels": labels}, "spec": spec},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": template}],
        },
    }


def shell(script: str) -> list[str]:
    """A command that stops at the first error."""
    return ["sh", "-euc", script]


def writer() -> list[str]:
    """Numbered blocks, each durable before its line on stdout, until it is told to stop."""
    return ["python", "-m", "dpucsi.testing.writer", "/data/ledger"]
