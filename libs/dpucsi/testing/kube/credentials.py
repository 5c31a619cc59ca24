"""Who is who in a lab's cluster: a CA, the API server's certificates, and a token and kubeconfig for each user."""

import json
import secrets
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

API_ADDRESS = "10.99.0.1"
SERVICE_ADDRESS = "10.0.0.1"  # of the Service "kubernetes": the first of the service range
SERVER = f"https://{API_ADDRESS}:443"
ADMIN = "admin"
CONTROLLERS, SCHEDULER = "kube-controller-manager", "kube-scheduler"


class Credentials:
    """Files below `folder`: ca.crt, api.crt/key, kubelet-client.crt/key, sa.key, tokens.csv, <user>.kubeconfig."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, nodes: list[str]) -> None:
        """Writes all of it anew; `nodes` are those that may join."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.folder / "ca.crt"))
        names = (API_ADDRESS, SERVICE_ADDRESS, "127.0.0.1", "localhost", "kubernetes.default.svc")
        self._write_pair("api", authority.issue_cert(*names, common_name="kube-apiserver"))
        client = authority.issue_cert(
            "kube-apiserver.lab", common_name="kube-apiserver", organization_name="system:masters"
        )
        self._write_pair("kubelet-client", client)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._private("sa.key", key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        users = {
            ADMIN: (ADMIN, "system:masters"),
            CONTROLLERS: (f"system:{CONTROLLERS}", ""),
            SCHEDULER: (f"system:{SCHEDULER}", ""),
            **{f"kubelet-{node}": (f"system:node:{node}", "system:nodes") for node in nodes},
        }
        tokens = {file: secrets.token_hex(16) for file in users}
        lines = (f"{tokens[file]},{user},{user},{group}\n" for file, (user, group) in users.items())
        self._private("tokens.csv", "".join(lines).encode())
        for file, token in tokens.items():
            self._private(f"{file}.kubeconfig", json.dumps(self._kubeconfig(token)).encode())

    def path(self, name: str) -> str:
        """The path of one file, for a command line."""
        return str(self.folder / name)

    def kubeconfig(self, user: str) -> str:
        """The path of a user's kubeconfig."""
        return self.path(f"{user}.kubeconfig")

    def _kubeconfig(self, token: str) -> dict[str, object]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {"server": SERVER, "certificate-authority": self.path("ca.crt")}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
            "current-context": "lab",
        }

    def _write_pair(self, name: str, issued: trustme.LeafCert) -> None:
        self._private(f"{name}.key", issued.private_key_pem.bytes())
        issued.cert_chain_pems[0].write_to_path(self.path(f"{name}.crt"))

    def _private(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)
