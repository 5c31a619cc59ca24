"""The CSI mock of Kubernetes' own tests as a driver of the lab cluster: one pod on one Host with its sidecars."""

from typing import Any

MOCK_CLASS = "mock"
MOCK_POD = "mock-csi"
_DRIVER = "mock.csi.test"
_HOST = "host-a"
_NAMESPACE = "kube-system"
_FOLDER = "/var/lib/kubelet/plugins/mock-csi"
_SOCKET = f"{_FOLDER}/csi.sock"


def _container(name: str, *args: str, **more: Any) -> dict[str, Any]:
    mounts = [{"name": "kubelet", "mountPath": "/var/lib/kubelet", "mountPropagation": "Bidirectional"}]
    return {
        "name": name,
        "image": name,
        "args": list(args),
        "volumeMounts": mounts,
        "securityContext": {"privileged": True},
        **more,
    }


MOCK_OBJECTS: tuple[dict[str, Any], ...] = (
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": _DRIVER},
        "spec": {"attachRequired": True, "podInfoOnMount": True, "fsGroupPolicy": "File"},
    },
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": MOCK_CLASS},
        "provisioner": _DRIVER,
    },
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": MOCK_POD, "namespace": _NAMESPACE}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": MOCK_POD},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": MOCK_POD, "namespace": _NAMESPACE}],
    },
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": MOCK_POD, "namespace": _NAMESPACE},
        "spec": {
            "nodeName": _HOST,
            "hostNetwork": True,
            "serviceAccountName": MOCK_POD,
            "containers": [
                _container(
                    "mock-csi",
                    f"--endpoint=unix://{_SOCKET}",
                    f"--name={_DRIVER}",
                    f"--data-dir={_FOLDER}/volumes",
                    "--fs=ext4",
                ),
                _container(
                    "csi-node-driver-registrar",
                    f"--csi-address={_SOCKET}",
                    f"--kubelet-registration-path={_SOCKET}",
                    "--plugin-registration-path=/var/lib/kubelet/plugins_registry",
                ),
                _container("csi-provisioner", f"--csi-address={_SOCKET}", "--extra-create-metadata"),
                _container("csi-attacher", f"--csi-address={_SOCKET}"),
            ],
            "volumes": [{"name": "kubelet", "hostPath": {"path": "/var/lib/kubelet", "type": "Directory"}}],
        },
    },
)
