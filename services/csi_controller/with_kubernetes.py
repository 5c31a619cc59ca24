"""What csi-controller does with Kubernetes, where it is told to use it: all of it beside the CSI calls.

Importing this module loads the Kubernetes client.
"""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from csi_controller.access import NodeOf
from csi_controller.config import Config
from csi_controller.keeper import Keeper
from csi_controller.orphans import OrphanReport
from csi_controller.restore import Restorer
from dpucsi.aio import Operations, background
from dpucsi.backends import StorageBackend
from dpucsi.k8s import (
    Cluster,
    KubeApi,
    Leadership,
    LeaseLeadership,
    SoleLeadership,
    attacher_lease,
    connect,
    namespace,
)


@asynccontextmanager
async def with_kubernetes(
    config: Config, backends: Mapping[str, StorageBackend], operations: Operations
) -> AsyncIterator[NodeOf]:
    """Exports are brought back, and orphans reported, while the body runs; it gets what names the nodes of DPUs."""
    api = await connect(config.kubeconfig)
    cluster = Cluster(api, config.driver_name)
    leadership = _leadership(config, api)
    keeper = Keeper(cluster, leadership, backends, Restorer(cluster, leadership, backends, operations))
    report = OrphanReport(cluster, leadership, backends, config.orphan_report)
    try:
        async with background(cluster.run, keeper.run, report.run):
            yield cluster.node_of
    finally:
        await api.close()


def _leadership(config: Config, api: KubeApi) -> Leadership:
    if not config.leader_election:
        return SoleLeadership()
    # The host name is the pod's, and what the external-attacher beside us calls itself (csi-lib-utils).
    return LeaseLeadership(
        api, config.namespace or namespace(), attacher_lease(config.driver_name), socket.gethostname()
    )
