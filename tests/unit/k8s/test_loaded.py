"""Who does not use Kubernetes does not load it."""

import subprocess
import sys

import pytest

SERVICES = ("csi_controller", "csi_node_host", "csi_node_dpu", "volume_attacher", "opi_bridge")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_without_kubernetes(service: str) -> None:
    lines = f"import sys, {service}.app; print([name for name in ('kubernetes', 'aiohttp') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "ask"),
    [
        ("csi_controller.app", "module._kubernetes(type('C', (), {'kubernetes': True})(), {}, None)"),
        ("csi_node_host.pairing", "asyncio.run(module.kubernetes(C()).__aenter__())"),
    ],
)
def test_a_missing_package_is_named(module: str, ask: str) -> None:
    lines = (
        "import asyncio, importlib, sys; sys.modules['kubernetes'] = None\n"
        f"module = importlib.import_module('{module}')\n"
        "class C: dpu = None; insecure = True; kubeconfig = None\n"
        f"try: {ask}\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert "InvalidArgumentError" in done.stdout
    assert "dpu-csi[kubernetes]" in done.stdout
