"""A real etcd and kube-apiserver on loopback, with a kubeconfig; killed and started again on the same ports."""

import json
import os
import secrets
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpucsi.aio import wait_until
from dpucsi.errors import UnavailableError
from dpucsi.k8s import KubeApi, connect
from dpucsi.testing.lab import listening
from dpucsi.testing.ports import free_ports
from dpucsi.testing.process import LabProcess

BIN = Path(os.environ.get("TOOLS_HOME", Path.home() / ".cache/dpucsi-tools")) / "bin"
NEEDED = ("etcd", "kube-apiserver", "kubectl")
START_S = 60.0


def missing() -> list[str]:
    return [name for name in NEEDED if not (BIN / name).exists()]


class ControlPlane:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcd_port, peer_port, self.api_port = free_ports(3)
        self.token, self.stranger_token = secrets.token_hex(16), secrets.token_hex(16)
        self._write_secrets()
        self.etcd = LabProcess("etcd", self._etcd(peer_port), folder / "etcd.log")
        self.api_server = LabProcess("kube-apiserver", self._api_server(), folder / "kube-apiserver.log")

    async def up(self) -> None:
        self.etcd.start()
        await self._until_listening(self.etcd, self.etcd_port)
        await self.start_api_server()

    async def start_api_server(self) -> None:
        """Returns when it is ready for all."""
        self.api_server.start()
        await self._until_listening(self.api_server, self.api_port)
        api = await self.connect()
        try:

            async def ready() -> bool | None:
                try:
                    await api.get("/apis/storage.k8s.io/v1/csinodes")
                except UnavailableError:
                    return None
                return True

            await wait_until(ready, "kube-apiserver ready", timeout_s=START_S)
        finally:
            await api.close()

    def down(self) -> None:
        self.api_server.kill()
        self.etcd.kill()

    async def connect(self) -> KubeApi:
        return await connect(self.kubeconfig)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    def kubectl(self, *args: str, stdin: str = "") -> str:
        argv = [str(BIN / "kubectl"), f"--kubeconfig={self.kubeconfig}", *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def apply(self, *objects: dict[str, object]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def compact(self) -> None:
        """Forgets every version but the newest: a watch from an older one is answered with 410."""
        status = self._ask_etcd("maintenance/status", {})
        self._ask_etcd("kv/compaction", {"revision": status["header"]["revision"]})

    def _ask_etcd(self, call: str, request: dict[str, object]) -> dict[str, Any]:
        """One of etcd's gRPC calls by its JSON gateway."""
        url = f"http://127.0.0.1:{self.etcd_port}/v3/{call}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(request).encode()), timeout=10) as answer:
            return dict(json.load(answer))

    async def _until_listening(self, process: LabProcess, port: int) -> None:
        async def accepts() -> bool | None:
            assert process.running, process.complain()
            return listening(f"tcp://127.0.0.1:{port}") or None

        await wait_until(accepts, f"{process.name} listens", timeout_s=START_S)

    def _etcd(self, peer_port: int) -> list[str]:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{peer_port}"
        return [
            str(BIN / "etcd"),
            *(f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=error"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster=default={peer}",
        ]

    def _api_server(self) -> list[str]:
        path = self.folder
        return [
            str(BIN / "kube-apiserver"),
            *(f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", "--etcd-compaction-interval=0"),
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.api_port}"),
            *("--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24"),
            *(f"--tls-cert-file={path / 'api.pem'}", f"--tls-private-key-file={path / 'api.key'}"),
            *(f"--token-auth-file={path / 'tokens.csv'}", "--authorization-mode=RBAC", "--allow-privileged"),
            "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://kubernetes.default.svc",
            *(f"--service-account-key-file={path / 'sa.key'}", f"--service-account-signing-key-file={path / 'sa.key'}"),
            "--profiling=false",
        ]

    def _write_secrets(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(str(self.folder / "api.key"))
        issued.cert_chain_pems[0].write_to_path(str(self.folder / "api.pem"))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (self.folder / "sa.key").write_bytes(pem)
        (self.folder / "tokens.csv").write_text(
            f"{self.token},admin,admin,system:masters\n{self.stranger_token},stranger,stranger,\n"
        )
        self.kubeconfig.write_text(json.dumps(self._kubeconfig()))
        self.kubeconfig.chmod(0o600)

    def _kubeconfig(self) -> dict[str, object]:
        cluster = {"server": f"https://127.0.0.1:{self.api_port}", "certificate-authority": str(self.folder / "ca.pem")}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "t", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "admin"}}],
            "current-context": "t",
        }
