"""One Node of a lab's cluster: namespaces in which a container runtime and a real kubelet run."""

import json
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dpucsi.aio import wait_until
from dpucsi.errors import NotFoundError, UnavailableError
from dpucsi.testing.kube import kubelet, namespace_init
from dpucsi.testing.kube.credentials import Credentials
from dpucsi.testing.kube.loops import detach, loops_of_node
from dpucsi.testing.kube.netns import NetworkNamespace
from dpucsi.testing.kube.process import NestedProcess, children
from dpucsi.testing.kube.tools import tool

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_DISKS = ("/var/lib", "/var/log")  # what a Node keeps over a reboot
START_S = 20.0
DEAD_S = 2.0  # how long a kill is waited for; what waits for I/O dies later
LAST_PROCESS_S = 60.0  # above the time after which I/O to a lost volume fails


@dataclass(frozen=True)
class Site:
    """What all Nodes of a lab have in common."""

    root: Path
    network: NetworkNamespace
    credentials: Credentials
    images: Path  # lab-cri's file


@dataclass
class Node:
    """`folders` are those of this machine's hardware that it sees: {path in the Node: folder of this machine}."""

    site: Site
    name: str
    ip: str
    labels: dict[str, str] = field(default_factory=dict)
    taint: str = ""
    folders: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = self.site.root
        self.folder = root / "nodes" / self.name
        init = [sys.executable, "-I", "-S", "-B", namespace_init.__file__, str(self.folder / "init.json")]
        namespaces = ("--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--propagation", "slave", "--uts")
        self.init = NestedProcess(
            f"node-{self.name}", root, self.site.network.enter("unshare", *namespaces, "--", *init)
        )
        self.runtime = NestedProcess(f"lab-cri-{self.name}", root, [])
        self.kubelet = NestedProcess(f"kubelet-{self.name}", root, [])

    async def start(self) -> None:
        """Boots it: a new boot id and an empty /run, with what lay on its disks. Returns when its kubelet serves.

        An earlier life of it has to be over to the last process; one that waits for I/O is waited for.
        """
        await self.gone()
        self._write_files()
        self.init.start()
        await wait_until(self._has_booted, f"namespaces of {self.name}", timeout_s=START_S)
        await self.start_runtime()
        await self.start_kubelet()

    async def start_runtime(self) -> None:
        """Starts the container runtime, without any container."""
        options = [f"--endpoint=unix://{kubelet.RUNTIME_SOCKET}", f"--images={self.site.images}", f"--ip={self.ip}"]
        self.runtime.start(self._inside(tool("lab-cri"), *options, "--root=/run/lab-cri"))

        async def answers() -> bool | None:
            self._check(self.runtime)
            return self.path(kubelet.RUNTIME_SOCKET).exists() or None

        await wait_until(answers, f"container runtime of {self.name}", timeout_s=START_S)

    async def start_kubelet(self) -> None:
        """Starts the kubelet; returns when it serves, which may be before its Node is Ready."""
        command_line = kubelet.command_line(
            self.folder / "kubelet.json",
            name=self.name,
            ip=self.ip,
            credentials=self.site.credentials,
            labels=self.labels,
        )
        self.kubelet.start(self._inside(*command_line))

        async def answers() -> bool | None:
            self._check(self.kubelet)
            return await self.site.network.accepts(self.ip, kubelet.PORT) or None

        await wait_until(answers, f"kubelet of {self.name}", timeout_s=START_S)

    def kill(self) -> None:
        """It dies at once, with all that runs in it. What is in the middle of I/O to a disk ends when that does.

        The loop devices go that its kubelet made for raw block volumes: with a real Node its kernel would die.
        """
        loops = loops_of_node(self.folder)
        with suppress(UnavailableError, ProcessLookupError):
            self.init.kill(DEAD_S)
        detach(loops)

    async def gone(self) -> None:
        """Returns when the last process of a dead one has ended."""

        async def is_over() -> bool | None:
            return not any(process.running for process in (self.init, self.runtime, self.kubelet)) or None

        await wait_until(is_over, f"end of the last process of the dead {self.name}", timeout_s=LAST_PROCESS_S)

    def path(self, inside: str) -> Path:
        """Where this machine finds the Node's absolute path `inside`; UnavailableError while it is dead."""
        return Path(f"/proc/{self.init.pid}/root{inside}")

    def run(self, argv: list[str], timeout_s: float = 60.0) -> str:
        """What a command prints in the Node's namespaces; UnavailableError with its words where it fails."""
        done = subprocess.run(self._inside(*argv), capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            raise UnavailableError(f"{self.name}: {' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def containers(self, pod_prefix: str, container: str) -> list[int]:
        """The pids, as this machine numbers them, of the first processes of such containers."""
        names = {folder.name.split("_")[2]: folder.name.split("_")[1] for folder in self._pod_logs("*")}
        found = []
        for pid in children(self.runtime.pid):
            pod, name = _container_of(pid)
            if name == container and names.get(pod, "").startswith(pod_prefix):
                found.append(pid)
        return found

    def log_of(self, pod_uid: str, container: str = "*") -> str:
        """The runtime's log of a pod's container, all its starts; it is there while the Node is dead as well."""
        files = sorted(file for folder in self._pod_logs(pod_uid) for file in folder.glob(f"{container}/*.log"))
        if not files:
            raise NotFoundError(
                f"{self.name} has no log of pod {pod_uid}: it never ran there, or its kubelet removed it"
            )
        return "".join(file.read_text(errors="replace") for file in files)

    def _pod_logs(self, pod_uid: str) -> list[Path]:
        """Folders <namespace>_<pod>_<uid>."""
        return sorted((self.folder / "var" / "log" / "pods").glob(f"*_{pod_uid}"))

    def _inside(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in the Node, in an empty working folder.

        A kubelet whose runtime names no log path for a container deletes everything in its working folder.
        """
        enter = ("nsenter", f"--target={self.init.pid}", "--net", "--uts", "--mount", "--pid", "--")
        return [*enter, "env", "-C", namespace_init.EMPTY, *argv]

    def _write_files(self) -> None:
        for disk in _DISKS:
            (self.folder / disk.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (self.folder / "var" / "lib" / "kubelet").mkdir(exist_ok=True)
        own = {disk: str(self.folder / disk.lstrip("/")) for disk in _DISKS}
        config = {
            "name": self.name,
            "below": str(self.site.root),
            "folders": own | {"/run": ""} | {path: str(folder) for path, folder in self.folders.items()},
            "shared": kubelet.ROOT,
            "files": kubelet.KERNEL_FILES | {BOOT_ID: f"{uuid.uuid4()}\n"},
        }
        (self.folder / "init.json").write_text(json.dumps(config, indent=1))
        kubelet.write_config(
            self.folder / "kubelet.json", ip=self.ip, credentials=self.site.credentials, taint=self.taint
        )

    async def _has_booted(self) -> bool | None:
        self._check(self.init)
        with suppress(UnavailableError):
            return self.path(namespace_init.READY).exists() or None
        return None

    def _check(self, process: NestedProcess) -> None:
        if not process.running:
            raise UnavailableError(f"{process.name} ended at once:\n{process.complain()}")


def _container_of(pid: int) -> tuple[str, str]:
    """Pod UID and container name, by the termination log that every kubelet mounts; ("", "") where there is none."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            words = line.split()[3].split("/")  # .../pods/<uid>/containers/<name>/<id>
            if len(words) > 4 and words[-5] == "pods" and words[-3] == "containers":
                return words[-4], words[-2]
    return "", ""
