"""A Kubernetes cluster on this machine with the product in it: `make kube`, and `make kube-down`.

Starts etcd, the Kubernetes control plane and five real kubelets, two storage nodes, two emulated DPUs and their cards,
installs the Helm chart, and takes one claim to a pod that has it mounted. All of it goes on running until
`make kube-down`, which proves that nothing is left.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console

from dpucsi import observe
from dpucsi.errors import DpucsiError
from dpucsi.testing.kube.lab import HOSTS, ROOT, KubeLab
from dpucsi.testing.kube.times import Times, claim_to_running

console = Console(highlight=False, soft_wrap=True)
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "demo"},
    "spec": {
        "storageClassName": "pool-a",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "256Mi"}},
    },
}
WRITE = "echo written by $HOSTNAME > /data/file; sync /data/file; sleep infinity"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "demo"},
    "spec": {
        "nodeSelector": {"kubernetes.io/hostname": HOSTS[0]},
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "demo",
                "image": "busybox",
                "command": ["sh", "-euc", WRITE],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "demo"}}],
    },
}
KINDS = (
    *("nodes", "pods --all-namespaces -o wide", "csidriver", "csinodes", "storageclass"),
    *("pvc", "pv", "volumeattachment"),
)


async def up(lab: KubeLab) -> int:
    """Brings everything up, and shows it; returns the exit code."""
    if lab.is_up:
        console.print(f"a lab runs below {lab.root} already: see {lab.root / 'kubectl'}, or run 'make kube-down'")
        return 1
    began = time.monotonic()
    try:
        await lab.up(show_step)
        console.print(f"{time.monotonic() - began:6.1f} s  in all\n")
        times = await claim_to_running(lab.kubectl, lab.nodes[HOSTS[0]], CLAIM, POD)
    except DpucsiError as error:
        console.print(f"[red]{error}[/red]")
        if lab.is_up:
            console.print(f"the logs are in {lab.root / 'log'}; 'make kube-down' takes away what has come up")
        return 1
    show_times(times)
    for kind in KINDS:
        console.print(f"$ kubectl get {kind}")
        console.print(await lab.kubectl("get", *kind.split()))
    show_help(lab)
    return 0


def show_step(step: str, seconds: float) -> None:
    """One line of progress."""
    console.print(f"{seconds:6.1f} s  {step}")


def show_times(times: Times) -> None:
    """From the claim to the running pod; each line is what the step before it took longer."""
    console.print(
        f"{times.mounted:.2f} s from a claim to its volume mounted in a pod, {times.running:.2f} s to Running:"
    )
    split = {
        "claim Bound (external-provisioner, csi-controller)": times.bound,
        "attached (scheduler, external-attacher, csi-controller)": times.attached - times.bound,
        "mounted (kubelet, csi-node-host, DPU)": times.mounted - times.attached,
        "pod Running (kubelet, container runtime)": times.running - times.mounted,
    }
    for name, seconds in split.items():
        console.print(f"  {seconds:6.2f} s  {name}")
    console.print()


def show_help(lab: KubeLab) -> None:
    """What is faked, and how to look around."""
    console.print(
        "What is not real here: the container runtime starts containers as processes of this machine and pulls no "
        "images, and DPUs, cards and storage nodes are emulated.\n"
    )
    console.print("It goes on running. Try:\n")
    kubectl = lab.root / "kubectl"
    for line in ("exec demo -- cat /data/file", "describe pvc demo", "logs -n dpucsi ds/dpucsi-host", "get events -A"):
        console.print(f"  {kubectl} {line}")
    console.print(f"\nThe logs are in {lab.root / 'log'}. 'make kube-down' takes it all away.")


async def down(lab: KubeLab) -> int:
    """Takes everything away; returns the exit code."""
    if not lab.is_up:
        console.print(f"nothing runs below {lab.root}")
        return 0
    began = time.monotonic()
    try:
        await lab.down()
    except DpucsiError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    console.print(
        f"all taken away in {time.monotonic() - began:.1f} s: no process, namespace, mount, loop device or file is left"
    )
    return 0


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("what", choices=("up", "down"), help="bring it up, or take it away")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"its folder, a short path (default: {ROOT})")
    return parser.parse_args()


if __name__ == "__main__":
    observe.configure("kube", log_format="console", log_level="warning")
    given = options()
    lab = KubeLab(given.root)
    try:
        sys.exit(asyncio.run({"up": up, "down": down}[given.what](lab)))
    except KeyboardInterrupt:
        sys.exit("interrupted: 'make kube-down' takes away what is there" if lab.is_up else "interrupted")
