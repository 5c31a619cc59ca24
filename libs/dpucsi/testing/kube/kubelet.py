"""How a Node's kubelet is configured."""

import json
from pathlib import Path
from typing import Any

from dpucsi.testing.kube.credentials import Credentials
from dpucsi.testing.kube.tools import tool

PORT = 10250
ROOT = "/var/lib/kubelet"
RUNTIME_SOCKET = "/run/lab-cri.sock"

# The kubelet writes these at its start, for the whole machine. Where they say what it wants, it writes nothing:
# setupKernelTunables in k8s.io/kubernetes/pkg/kubelet/cm.
KERNEL_FILES = {
    "/proc/sys/vm/overcommit_memory": "1\n",
    "/proc/sys/vm/panic_on_oom": "0\n",
    "/proc/sys/kernel/panic": "10\n",
    "/proc/sys/kernel/panic_on_oops": "1\n",
    "/proc/sys/kernel/keys/root_maxkeys": "1000000\n",
    "/proc/sys/kernel/keys/root_maxbytes": "25000000\n",
}


def write_config(path: Path, *, ip: str, credentials: Credentials, taint: str) -> None:
    """The kubelet's configuration file; `taint` is key:effect, or ""."""
    key, _, effect = taint.partition(":")
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{RUNTIME_SOCKET}",
        "volumePluginDir": f"{ROOT}/flex",
        "address": ip,
        "port": PORT,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": credentials.path("ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        # No cgroups are touched: this machine may have version 1 or 2, or a container around it.
        "failCgroupV1": False,
        "cgroupsPerQOS": False,
        "cgroupDriver": "cgroupfs",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "evictionHard": {f"{what}.available": "0%" for what in ("memory", "nodefs", "imagefs")},
        "imageGCHighThresholdPercent": 100,
        # An image costs nothing here: none waits for another one, or for its turn by the second.
        "registryPullQPS": 0,
        "serializeImagePulls": False,
        "clusterDNS": ["10.0.0.10"],  # nobody serves it; without one every pod has a warning
        "oomScoreAdj": 0,
        # A dead node is noticed soon; a volume that is in use, or no longer, is reported soon. Nothing is attached or
        # detached before, so by default every one would wait for up to 10 s.
        "nodeLeaseDurationSeconds": 8,
        "nodeStatusUpdateFrequency": "200ms",
        "nodeStatusReportFrequency": "10s",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    }
    if taint:
        config["registerWithTaints"] = [{"key": key, "effect": effect}]
    path.write_text(json.dumps(config, indent=1))


def command_line(config: Path, *, name: str, ip: str, credentials: Credentials, labels: dict[str, str]) -> list[str]:
    """The kubelet's command line inside its Node."""
    return [
        tool("kubelet"),
        f"--config={config}",
        f"--kubeconfig={credentials.kubeconfig(f'kubelet-{name}')}",
        *(f"--root-dir={ROOT}", f"--cert-dir={ROOT}/pki"),
        *(f"--hostname-override={name}", f"--node-ip={ip}"),
        *((f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",) if labels else ()),
        "--housekeeping-interval=1m",  # cadvisor's look at this machine's cgroups
        "-v=1",
    ]
