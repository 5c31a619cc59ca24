"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, as they are started in a lab.

Data and ports stay the same, so each of them can be killed and started again.
"""

import json
from pathlib import Path

from dpucsi.testing.kube.credentials import API_ADDRESS, CONTROLLERS, SCHEDULER, Credentials
from dpucsi.testing.kube.netns import NetworkNamespace
from dpucsi.testing.kube.process import LastingProcess
from dpucsi.testing.kube.tools import tool

CHART_NAMESPACE = "dpucsi"
ETCD, API_SERVER = "etcd", "kube-apiserver"
PORTS = {ETCD: 2379, API_SERVER: 443, CONTROLLERS: 10257, SCHEDULER: 10259}
NODE_MONITOR_S = 2
NODE_GRACE_S = 9  # silence after which a node is NotReady; a kubelet renews its lease every 2 s

_ETCD_URL = f"http://{API_ADDRESS}:{PORTS[ETCD]}"
# What the chart's components ask for. A watch counts as soon as it is answered; everything else is logged when it ends.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{CHART_NAMESPACE}"]},
        {"level": "None"},
    ],
}


class ControlPlane:
    """Its files lie in `<root>/etcd`, `<root>/config` and `<root>/log/audit.json`."""

    def __init__(self, root: Path, network: NetworkNamespace, credentials: Credentials) -> None:
        self._root = root
        self._network = network
        self._credentials = credentials
        argv = {
            ETCD: self._etcd(),
            API_SERVER: self._api_server(),
            CONTROLLERS: self._controller_manager(),
            SCHEDULER: self._scheduler(),
        }
        self.processes = {
            name: LastingProcess(name, root, network.enter(tool(name), *options)) for name, options in argv.items()
        }

    def make(self) -> None:
        """Writes what the command lines name."""
        (self._root / "config" / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))

    async def is_ready(self, name: str) -> bool:
        """True where the process accepts connections; whether the API server is ready, kubectl tells."""
        return await self._network.accepts(API_ADDRESS, PORTS[name])

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self._root / 'etcd'}",
            "--unsafe-no-fsync",  # a lab has no power cuts
            f"--listen-client-urls={_ETCD_URL}",
            f"--advertise-client-urls={_ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        path = self._credentials.path
        return [
            f"--etcd-servers={_ETCD_URL}",
            *("--bind-address=0.0.0.0", f"--advertise-address={API_ADDRESS}", f"--secure-port={PORTS[API_SERVER]}"),
            *(f"--tls-cert-file={path('api.crt')}", f"--tls-private-key-file={path('api.key')}"),
            *(f"--client-ca-file={path('ca.crt')}", f"--token-auth-file={path('tokens.csv')}"),
            f"--kubelet-client-certificate={path('kubelet-client.crt')}",
            f"--kubelet-client-key={path('kubelet-client.key')}",
            "--kubelet-preferred-address-types=InternalIP",
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged"),
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            *(f"--service-account-key-file={path('sa.key')}", f"--service-account-signing-key-file={path('sa.key')}"),
            # A pod leaves a dead node soon.
            *("--default-not-ready-toleration-seconds=10", "--default-unreachable-toleration-seconds=10"),
            f"--audit-policy-file={self._root / 'config' / 'audit-policy.json'}",
            f"--audit-log-path={self._root / 'log' / 'audit.json'}",
            *("--profiling=false", "-v=1"),
        ]

    def _controller_manager(self) -> list[str]:
        path = self._credentials.path
        return [
            f"--kubeconfig={self._credentials.kubeconfig(CONTROLLERS)}",
            *("--leader-elect=false", "--use-service-account-credentials"),
            *(f"--bind-address={API_ADDRESS}", f"--secure-port={PORTS[CONTROLLERS]}"),
            f"--cert-dir={self._root / 'config' / CONTROLLERS}",
            *(f"--service-account-private-key-file={path('sa.key')}", f"--root-ca-file={path('ca.crt')}"),
            f"--node-monitor-period={NODE_MONITOR_S}s",
            f"--node-monitor-grace-period={NODE_GRACE_S}s",
            f"--flex-volume-plugin-dir={self._root / 'config' / 'flex'}",
            *("--profiling=false", "-v=1"),
        ]

    def _scheduler(self) -> list[str]:
        return [
            f"--kubeconfig={self._credentials.kubeconfig(SCHEDULER)}",
            *("--leader-elect=false", "--profiling=false", "-v=1"),
            *(f"--bind-address={API_ADDRESS}", f"--secure-port={PORTS[SCHEDULER]}"),
            f"--cert-dir={self._root / 'config' / SCHEDULER}",
        ]
