"""The programs of a Kubernetes lab: built from Go modules by tests/e2e/kube/tools/build into one folder."""

import os
import shutil
from pathlib import Path

NAMES = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "helm"),
    *("csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter", "snapshot-controller"),
    *("csi-registrar", "lab-cri", "mock-csi"),
)
COMMANDS = ("unshare", "nsenter", "ip", "mount", "losetup", "mkfs.ext4", "mkfs.xfs")
# A Node of the lab shows a folder of its own there.
_HIDDEN_ON_NODES = tuple(Path(folder) for folder in ("/var/lib", "/var/log", "/run"))


def tools_home() -> Path:
    """The folder of the programs, as the environment's TOOLS_HOME names it."""
    return Path(os.environ.get("TOOLS_HOME") or Path.home() / ".cache" / "dpucsi-tools")


def tool(name: str) -> str:
    """The absolute path of one program."""
    return str(tools_home() / "bin" / name)


def obstacle(*folders: Path) -> str:
    """What keeps a lab from running here, as a sentence with what to do about it; "" where nothing does.

    `folders` are those that Nodes must see: the lab's own, and the checkout's.
    """
    if os.geteuid() != 0:
        return "namespaces, mounts and loop devices need root: run it as root"
    lacking = [name for name in NAMES if not os.access(tool(name), os.X_OK)]
    if lacking:
        return f"{', '.join(lacking)} not in {tools_home() / 'bin'}: run 'make kube-tools'"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [name for name in COMMANDS if shutil.which(name, path=path) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed: run 'make packages'"
    for folder in (tools_home(), *folders):
        if any(folder.resolve().is_relative_to(hidden) for hidden in _HIDDEN_ON_NODES):
            return f"{folder} lies in one of {', '.join(map(str, _HIDDEN_ON_NODES))}, which Nodes do not share: move it"
    return ""
