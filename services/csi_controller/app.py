"""Builds csi-controller: the only file that names its concrete classes."""

import asyncio

from csi_controller.config import Config
from csi_controller.controller import ControllerServicer
from dpucsi.aio import Operations
from dpucsi.api.csi.v1 import csi_pb2_grpc
from dpucsi.backends import load_backends
from dpucsi.csi.identity import IdentityServicer
from dpucsi.rpc import Service, serve


async def serve_csi_controller(config: Config) -> None:
    """Serves until SIGTERM."""
    backends = load_backends(config.backends)
    operations = Operations(config.operation_limit)
    services = [
        Service("csi.v1.Identity", csi_pb2_grpc.add_IdentityServicer_to_server, IdentityServicer(config.driver_name)),
        Service(
            "csi.v1.Controller",
            csi_pb2_grpc.add_ControllerServicer_to_server,
            ControllerServicer(config.cluster_id, backends, operations),
        ),
    ]
    try:
        await serve(config, services, operations)
    finally:
        await asyncio.gather(*(backend.close() for backend in backends.values()))
