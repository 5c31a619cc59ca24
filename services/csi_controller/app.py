"""Builds csi-controller: the only file that names its concrete classes."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from csi_controller.access import NodeOf, unknown_node
from csi_controller.config import Config
from csi_controller.controller import ControllerServicer
from dpucsi.aio import Operations
from dpucsi.api.csi.v1 import csi_pb2_grpc
from dpucsi.backends import StorageBackend, load_backends
from dpucsi.csi.identity import IdentityServicer
from dpucsi.errors import InvalidArgumentError
from dpucsi.rpc import Service, serve


async def serve_csi_controller(config: Config) -> None:
    """Serves until SIGTERM."""
    backends = load_backends(config.backends)
    operations = Operations(config.operation_limit)
    try:
        async with _kubernetes(config, backends, operations) as node_of:
            identity = IdentityServicer(config.driver_name)
            controller = ControllerServicer(config.cluster_id, backends, operations, node_of)
            services = [
                Service("csi.v1.Identity", csi_pb2_grpc.add_IdentityServicer_to_server, identity),
                Service("csi.v1.Controller", csi_pb2_grpc.add_ControllerServicer_to_server, controller),
            ]
            await serve(config, services, operations)
    finally:
        await asyncio.gather(*(backend.close() for backend in backends.values()))


def _kubernetes(
    config: Config, backends: Mapping[str, StorageBackend], operations: Operations
) -> AbstractAsyncContextManager[NodeOf]:
    if not config.kubernetes:
        return nullcontext(unknown_node)
    # Loaded here and not above: 27 MiB that a csi-controller without Kubernetes does without.
    try:
        from csi_controller.with_kubernetes import with_kubernetes  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise InvalidArgumentError(
            f"--kubernetes needs a package that is not installed ({missing.name}): pip install 'dpu-csi[kubernetes]'"
        ) from missing
    return with_kubernetes(config, backends, operations)
