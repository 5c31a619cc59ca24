import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.kube.space import GONE_S, Space

from dpucsi.aio import wait_until
from dpucsi.testing.kube import chart, tools
from dpucsi.testing.kube.lab import KubeLab
from dpucsi.testing.kube.leftovers import State, comes_to

CASE_S = 900
FOLDER = Path(__file__).parent
SHOWN = "shown"
Shows = Callable[[str], None]
# No case waits half a minute until I/O without a path fails, or minutes until a Host looks for what kubelet forgot.
VALUES = {
    "dpu": {"opiBridge": {"extraArgs": ["--fast-io-fail-timeout=10", "--reconnect-delay=1"]}},
    "host": {"extraArgs": ["--forgotten-after=10"]},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The kubelet has times of its own, and 2 cores run a whole cluster."""
    for item in items:
        if item.path.is_relative_to(FOLDER) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(CASE_S))


@pytest.fixture
def shows(record_property: Callable[[str, object], None]) -> Shows:
    """Takes a line that the run's summary prints, from a worker of pytest-xdist too."""
    return lambda line: record_property(SHOWN, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the cases have shown."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.getreports(kind)]
    lines = [line for one in reports if one.when == "call" for name, line in one.user_properties if name == SHOWN]
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line(line)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def kube_lab(request: pytest.FixtureRequest) -> AsyncIterator[KubeLab]:
    """A cluster with the chart installed, started once; it ends with nothing left. A failure keeps the logs."""
    root = Path(tempfile.mkdtemp(prefix="dk-"))
    hindrance = tools.obstacle(root, chart.CHECKOUT)
    if hindrance:
        root.rmdir()
        pytest.skip(hindrance)
    lab = KubeLab(root, VALUES)
    failed_before = request.session.testsfailed
    is_up = False
    try:
        await lab.up()
        is_up = True
        yield lab
    finally:
        if not is_up or request.session.testsfailed > failed_before:
            print(f"\nthe logs are in {keep_logs(lab)}")
        await lab.down()


def keep_logs(lab: KubeLab) -> Path:
    """Copies what all processes and pods said to a folder that stays."""
    kept = Path(tempfile.mkdtemp(prefix="dpucsi-kube-logs-"))
    shutil.copytree(lab.root / "log", kept / "log")
    for name, node in lab.nodes.items():
        pods = node.folder / "var" / "log" / "pods"
        if pods.exists():
            shutil.copytree(pods, kept / name, ignore_dangling_symlinks=True)
    return kept


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def baseline(kube_lab: KubeLab) -> State:
    """The state before any volume, once the attachers have made their shared functions."""

    async def settled() -> State | None:
        state = await kube_lab.leftovers()
        functions = [state[f"records {dpu}"] for dpu in ("dpu-a", "dpu-b")]
        subsystems = [len(state[spdk]["nvmf_get_subsystems"]) for spdk in ("spdk-a", "spdk-b")]
        return state if all(functions) and min(subsystems) > 1 else None

    return await wait_until(settled, "the shared functions", timeout_s=60)


@pytest_asyncio.fixture
async def space(request: pytest.FixtureRequest, kube_lab: KubeLab, baseline: State) -> AsyncIterator[Space]:
    """A namespace of the case's own; behind it nothing is left of its volumes."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:63].strip("-")
    await kube_lab.kubectl("create", "namespace", name)
    await kube_lab.kubectl.until(
        "serviceaccount", "default", bool, "service account", namespace=name, timeout_s=30
    )  # without it no pod can be made
    try:
        yield Space(kube_lab, name)
    finally:
        await kube_lab.kubectl.delete("namespace", name)  # takes its time, so its volumes' part is waited for alone
        await kube_lab.kubectl("delete", "statefulset,pod,pvc", "--all", "-n", name, f"--timeout={GONE_S:.0f}s")
    for storage_class in (await kube_lab.kubectl.get("storageclass") or {})["items"]:
        if storage_class["metadata"]["name"].startswith(f"{name}-"):
            await kube_lab.kubectl.delete("storageclass", storage_class["metadata"]["name"])
    await comes_to(kube_lab, baseline)
