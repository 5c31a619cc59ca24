"""Builds csi-node-host: the only file that names its concrete parts."""

from pathlib import Path

from csi_node_host.config import Config
from csi_node_host.dpu import Dpu
from csi_node_host.forgotten import Forgotten
from csi_node_host.node import NodeServicer
from csi_node_host.pairing import channel_to_dpu, kubernetes, publications
from csi_node_host.record import Volumes
from csi_node_host.site import Site
from dpucsi.aio import Operations, background
from dpucsi.api.csi.v1 import csi_pb2_grpc
from dpucsi.csi.identity import IdentityServicer
from dpucsi.nvme import Sysfs
from dpucsi.rpc import Service, serve
from dpucsi.rpc.tls import TlsFiles
from dpucsi.store import Records

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """Names this boot of the Host; a new one tells the DPU that the Host holds nothing of before."""
    return BOOT_ID.read_text().strip()


async def serve_csi_node_host(config: Config) -> None:
    """Serves until it is told to stop."""
    tls = TlsFiles.of(config.tls_ca, config.tls_cert, config.tls_key)
    boot_id = read_boot_id()
    records = Records.open(config.state)
    operations = Operations(config.operation_limit)
    async with kubernetes(config) as api, channel_to_dpu(config, tls, api) as to_dpu:
        site = Site(
            sysfs=Sysfs(config.sysfs),
            dev_root=config.dev,
            dpu=Dpu(to_dpu, boot_id),
            volumes=Volumes(records, boot_id),
            disk_wait_s=config.disk_wait,
        )
        services = [
            Service(
                "csi.v1.Identity", csi_pb2_grpc.add_IdentityServicer_to_server, IdentityServicer(config.driver_name)
            ),
            Service(
                "csi.v1.Node", csi_pb2_grpc.add_NodeServicer_to_server, NodeServicer(site, operations, config.node)
            ),
        ]
        forgotten = Forgotten(site, operations, config.forgotten_after, publications(config, api))
        try:
            async with background(forgotten.run):
                await serve(config, services, operations)
        finally:
            await records.close()
