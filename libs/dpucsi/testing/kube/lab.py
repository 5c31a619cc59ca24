"""The whole lab: a control plane, five Nodes, their hardware, and the product as its chart deploys it."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from dpucsi.aio import wait_until
from dpucsi.errors import FailedPreconditionError, UnavailableError
from dpucsi.spdk import SpdkClient
from dpucsi.testing.kube import chart, leftovers, limits, sweep
from dpucsi.testing.kube.chart import Chart
from dpucsi.testing.kube.control_plane import API_SERVER, ETCD, ControlPlane
from dpucsi.testing.kube.credentials import API_ADDRESS, CONTROLLERS, SCHEDULER, SERVICE_ADDRESS, Credentials
from dpucsi.testing.kube.hardware import CARD_PLACE, CARDS, SPDK_PLACE, SPDKS, STORAGES, Hardware
from dpucsi.testing.kube.kubectl import Kubectl, Object
from dpucsi.testing.kube.loops import loops_below, loops_of_node
from dpucsi.testing.kube.netns import NetworkNamespace
from dpucsi.testing.kube.node import Node, Site
from dpucsi.testing.kube.process import LastingProcess
from dpucsi.testing.kube.tools import obstacle

ROOT = Path("/tmp/dpucsi-kube")  # noqa: S108  # sockets lie in it, whose paths have at most 107 bytes
DRIVER = "csi.dpucsi.io"
ADDRESSES = {
    "control": "10.99.0.10",
    **{"host-a": "10.99.0.11", "host-b": "10.99.0.12"},
    **{"dpu-a": "10.99.0.21", "dpu-b": "10.99.0.22"},
}
HOSTS, DPUS = ("host-a", "host-b"), ("dpu-a", "dpu-b")
START_S = 60.0
HARDWARE_S = 5.0  # for an orderly end
Progress = Callable[[str, float], None]


class KubeLab:
    """Everything lies below `root`, which should be short. A lab that an earlier run left there is this one.

    `values` are the chart's, on top of values-lab.yaml.
    """

    def __init__(self, root: Path = ROOT, values: Object | None = None) -> None:
        self.root = root
        addresses = (SERVICE_ADDRESS, API_ADDRESS, *ADDRESSES.values(), *STORAGES.values())
        self.network = NetworkNamespace(root / "net", addresses)
        self.credentials = Credentials(root / "tls")
        self.kubectl = Kubectl(root, self.network, self.credentials)
        self.control_plane = ControlPlane(root, self.network, self.credentials)
        self.hardware = Hardware(root, self.network)
        self.processes: dict[str, LastingProcess] = self.control_plane.processes | self.hardware.processes
        self.site = Site(root, self.network, self.credentials, root / "config" / "images.json")
        self.nodes = {node.name: node for node in self._nodes()}
        self.chart = Chart(root, self.kubectl, values or {})

    @property
    def is_up(self) -> bool:
        """True where `up` has begun, here or in an earlier run, and `down` has not ended."""
        return self.network.exists

    async def up(self, progress: Progress = lambda step, seconds: None) -> None:
        """Starts everything and installs the chart; tells each step and its seconds. Returns when all is Ready.

        FailedPreconditionError with what to do where this machine cannot run it, or it runs already.
        """
        hindrance = obstacle(self.root, chart.CHECKOUT)
        if hindrance or self.is_up:
            raise FailedPreconditionError(hindrance or f"a lab runs below {self.root} already: run 'make kube-down'")

        @asynccontextmanager
        async def step(name: str) -> AsyncIterator[None]:
            began = time.monotonic()
            yield
            progress(name, time.monotonic() - began)

        async with step("folders, certificates, network namespace"):
            self._make()
        async with step("etcd and kube-apiserver, storage nodes, DPUs and their cards"):
            await asyncio.gather(self._start_all(ETCD, API_SERVER), self._start_hardware())
        async with step("kube-controller-manager, kube-scheduler"):
            await self._start_all(CONTROLLERS, SCHEDULER)
        async with step("chart installed"):
            await self.chart.install()
        async with step("five Nodes Ready"):
            await asyncio.gather(*(node.start() for node in self.nodes.values()))
            await asyncio.gather(*(self.node_ready(name) for name in self.nodes))
        async with step("pods of the chart Ready, driver registered"):
            await self.chart.ready()
            await asyncio.gather(*(self._registered(name) for name in HOSTS))

    async def down(self) -> None:
        """Takes all of it away, whoever started it; UnavailableError names what is left."""
        loops = loops_below(self.root).union(*(loops_of_node(node.folder) for node in self.nodes.values()))
        for node in self.nodes.values():
            node.kill()
        for name in (SCHEDULER, CONTROLLERS, API_SERVER, ETCD):  # what they know is thrown away
            self.processes[name].kill()
        self.hardware.close()
        for name in (*CARDS, *SPDKS, *STORAGES):  # without a card, I/O that nodes still wait for fails
            self.processes[name].stop(HARDWARE_S)
        for node in self.nodes.values():
            await node.gone()
        self.network.close()
        await sweep.kill_all(self.network)
        await sweep.clear(self.root, loops)
        self.network.remove()
        limits.restore_inotify(self.root)
        left = sweep.left(self.root)
        if left:
            raise UnavailableError(f"left behind, and {self.root} is kept: {', '.join(left)}")
        shutil.rmtree(self.root, ignore_errors=True)

    async def start(self, name: str) -> None:
        """Starts one process and returns when it answers."""
        self.processes[name].start()
        await self.ready(name)

    async def ready(self, name: str) -> None:
        """Returns when the process answers; UnavailableError with the end of its log when it does not."""
        process = self.processes[name]

        async def answers() -> bool | None:
            if not process.running:
                raise UnavailableError(f"{name} ended at once:\n{process.complain()}")
            return await self._answers(name) or None

        await wait_until(answers, f"{name} ready", timeout_s=START_S)

    async def node_ready(self, name: str) -> None:
        """Returns when the Node's kubelet has told the cluster that it is Ready."""
        await self.kubectl.until("node", name, is_ready, f"{name} Ready", timeout_s=START_S)

    def spdk(self, name: str) -> SpdkClient:
        """A JSON-RPC client of storage-a, storage-b, spdk-a or spdk-b."""
        return self.hardware.spdk(name)

    async def leftovers(self) -> dict[str, Any]:
        """Everything that volumes may leave behind: `before == after` proves that nothing leaked."""
        return await leftovers.snapshot(self)

    def _nodes(self) -> list[Node]:
        def node(name: str, role: str = "", taint: str = "", **more: Any) -> Node:
            labels = {f"{DRIVER}/role": role} if role else {}
            if role == "host":
                labels[f"{DRIVER}/dpu-node"] = name.replace("host", "dpu")
            return Node(self.site, name, ADDRESSES[name], labels, taint, **more)

        nodes = [node("control", taint="node-role.kubernetes.io/control-plane:NoSchedule")]
        for host, dpu, spdk, card in zip(HOSTS, DPUS, SPDKS, CARDS, strict=True):
            folder = self.hardware.folder(card)
            nodes.append(node(host, "host", folders={CARD_PLACE: folder}))
            behind = {CARD_PLACE: folder, SPDK_PLACE: self.hardware.folder(spdk)}
            nodes.append(node(dpu, "dpu", f"{DRIVER}/dpu:NoSchedule", folders=behind))
        return nodes

    def _make(self) -> None:
        for folder in ("log", "pid", "cwd", "run", "config", "nodes"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        chart.write_images(self.site.images)
        chart.compile_services()
        limits.raise_inotify(self.root)
        self.network.make()
        self.credentials.make(list(ADDRESSES))
        self.control_plane.make()
        self.hardware.make()
        script = self.root / "kubectl"
        script.write_text(self.kubectl.script())
        script.chmod(0o700)

    async def _start_all(self, *names: str) -> None:
        for name in names:
            await self.start(name)

    async def _start_hardware(self) -> None:
        await asyncio.gather(*(self.start(name) for name in self.hardware.processes))
        await self.hardware.make_stores()

    async def _answers(self, name: str) -> bool:
        if name in self.hardware.processes:
            return await self.hardware.is_ready(name)
        if not await self.control_plane.is_ready(name):
            return False
        if name == API_SERVER:
            with suppress(UnavailableError):
                await self.kubectl("get", "--raw", "/readyz")
                return True
            return False
        return True

    async def _registered(self, name: str) -> None:
        def lists_driver(found: Object | None) -> bool:
            return any(one["name"] == DRIVER for one in (found or {}).get("spec", {}).get("drivers") or ())

        await self.kubectl.until("csinode", name, lists_driver, f"{DRIVER} registered on {name}", timeout_s=START_S)


def is_ready(node: Object | None) -> bool:
    """Whether a Node object says that it is Ready."""
    conditions = (node or {}).get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
