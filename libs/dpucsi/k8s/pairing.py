"""Which DPU a Host has, as its Node object says, followed while it changes.

annotation `csi.dpucsi.io/dpu-endpoint`: tcp://host:port   a DPU outside the cluster
label or annotation `csi.dpucsi.io/dpu-node`: name         a DPU that is a node too: its InternalIP and the usual port
"""

import asyncio
from contextlib import suppress

import structlog

from dpucsi.k8s.api import KubeApi
from dpucsi.k8s.informer import Informer, first_of
from dpucsi.k8s.objects import DPU_ENDPOINT, DPU_NODE, Node, node_of

NODES = "/api/v1/nodes"

log = structlog.get_logger(__name__)


class Pairing:
    """`endpoint` is the DPU's, or "" and `missing` says why: what was found, and what to do."""

    def __init__(self, api: KubeApi, node: str, port: int) -> None:
        self.endpoint = ""
        self.missing = f"Node {node} has not been read yet from {api}; is it reachable from here?"
        self._api = api
        self._name = node
        self._port = port

    async def run(self) -> None:
        """Follows the two Nodes, for ever."""
        host = self._informer(self._name)
        async with asyncio.TaskGroup() as group:
            group.create_task(host.run())
            await host.synced.wait()
            while True:
                await self._follow(host)

    async def _follow(self, host: Informer[Node]) -> None:
        """Until the Host names another node as its DPU."""
        found = host.items.get(self._name)
        named = found.dpu_node if found and not found.dpu_endpoint else ""
        dpu = self._informer(named) if named else None
        running = asyncio.create_task(dpu.run()) if dpu else None
        try:
            while True:
                changes = [one.changed() for one in (host, dpu) if one]  # taken before the look: none is missed
                found = host.items.get(self._name)
                if named != (found.dpu_node if found and not found.dpu_endpoint else ""):
                    for change in changes:
                        change.close()
                    return
                if dpu is None or dpu.synced.is_set():
                    self._say(*dpu_of(self._name, found, dpu.items.get(named) if dpu else None, self._port))
                await first_of(changes)
        finally:
            if running:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    def _say(self, endpoint: str, missing: str) -> None:
        if (endpoint, missing) == (self.endpoint, self.missing):
            return
        self.endpoint, self.missing = endpoint, missing
        if endpoint:
            log.info("this Host is paired with a DPU", node=self._name, dpu=endpoint)
        else:
            log.warning("this Host is not paired with a DPU", node=self._name, reason=missing)

    def _informer(self, node: str) -> Informer[Node]:
        return Informer(self._api, NODES, node_of, field_selector=f"metadata.name={node}")


def dpu_of(name: str, host: Node | None, dpu: Node | None, port: int) -> tuple[str, str]:
    """The endpoint of the DPU of Host `name`, or "" and the reason."""
    if host is None:
        return "", f"there is no Node {name}; --node must be this Host's name in the cluster"
    if host.dpu_endpoint:
        return host.dpu_endpoint, ""
    if not host.dpu_node:
        return "", (
            f"Node {name} does not say which DPU it has: label it {DPU_NODE}=<name of the DPU's Node>, or, for a DPU "
            f"outside the cluster, annotate it {DPU_ENDPOINT}=tcp://<address>:<port>"
        )
    if dpu is None:
        return "", f"Node {name} has the DPU {host.dpu_node} ({DPU_NODE}), but there is no such Node"
    if not dpu.internal_ip:
        return "", f"Node {dpu.name}, the DPU of Node {name}, has no address of type InternalIP yet"
    address = f"[{dpu.internal_ip}]" if ":" in dpu.internal_ip else dpu.internal_ip
    return f"tcp://{address}:{port}", ""
