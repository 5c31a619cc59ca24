"""Builds opi-bridge and serves it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from dpucsi.aio import Operations
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2, backend_nvme_pb2_grpc, frontend_nvme_pb2, frontend_nvme_pb2_grpc
from dpucsi.dpus import DpuDriver, load_driver
from dpucsi.rpc import Service, serve
from dpucsi.spdk import SpdkClient
from dpucsi.store import Records
from opi_bridge.backend_nvme import NvmeRemoteControllerServicer
from opi_bridge.config import Config
from opi_bridge.engine import Engine
from opi_bridge.frontend_nvme import FrontendNvmeServicer
from opi_bridge.kinds.nvme_controller import ControllerKind
from opi_bridge.kinds.nvme_namespace import NamespaceKind
from opi_bridge.kinds.nvme_path import PathKind, PathOptions
from opi_bridge.kinds.nvme_subsystem import SubsystemKind
from opi_bridge.kinds.remote_controller import RemoteControllerKind
from opi_bridge.kinds.remote_namespace import RemoteNamespaces
from opi_bridge.objects import Objects
from opi_bridge.preparation import InitiatorOptions, Preparation
from opi_bridge.realiser import Realiser
from opi_bridge.reconciler import Reconciler


@dataclass(frozen=True)
class Bridge:
    """Everything of a running bridge but its server."""

    services: tuple[Service, ...]
    operations: Operations
    client: SpdkClient
    reconciler: Reconciler
    preparation: Preparation


@contextlib.asynccontextmanager
async def running_bridge(config: Config, driver: DpuDriver) -> AsyncIterator[Bridge]:
    """A bridge that reconciles, until the block ends. Raises FailedPreconditionError: the state file is of no use."""
    records = Records.open(config.state)
    client = SpdkClient(config.spdk, timeout_s=config.spdk_timeout)
    objects = Objects(records)
    remote_controllers = RemoteControllerKind()
    paths = PathKind(client, objects, _path_options(config))
    subsystems = SubsystemKind(client, driver)
    controllers = ControllerKind(client, objects, driver)
    namespaces = NamespaceKind(client, objects)
    # Parents and references first: an object that is loaded finds what it depends on.
    objects.load((remote_controllers, paths, subsystems, namespaces, controllers))
    preparation = Preparation(client, driver.transports(), _initiator_options(config), config.spdk_timeout)
    realiser = Realiser(client, objects, preparation)
    operations = Operations(config.operation_limit)
    engine = Engine(client, objects, realiser, operations)
    reconciler = Reconciler(
        client, objects, realiser, preparation, interval_s=config.reconcile_interval, grace_s=config.reconcile_grace
    )
    remote = NvmeRemoteControllerServicer(engine, remote_controllers, paths, RemoteNamespaces(client, objects))
    frontend = FrontendNvmeServicer(
        engine,
        client=client,
        objects=objects,
        subsystems=subsystems,
        controllers=controllers,
        namespaces=namespaces,
    )
    reconciling = asyncio.create_task(reconciler.run())
    try:
        yield Bridge(_services(remote, frontend), operations, client, reconciler, preparation)
    finally:
        reconciling.cancel()
        await asyncio.wait([reconciling])
        await client.close()
        await records.close()


async def serve_opi_bridge(config: Config) -> None:
    """Runs until SIGTERM."""
    driver = load_driver(config.driver, config.driver_option)
    async with running_bridge(config, driver) as bridge:
        await serve(config, bridge.services, bridge.operations)


def _services(remote: NvmeRemoteControllerServicer, frontend: FrontendNvmeServicer) -> tuple[Service, ...]:
    remote_name = backend_nvme_pb2.DESCRIPTOR.services_by_name["NvmeRemoteControllerService"].full_name
    frontend_name = frontend_nvme_pb2.DESCRIPTOR.services_by_name["FrontendNvmeService"].full_name
    return (
        Service(remote_name, backend_nvme_pb2_grpc.add_NvmeRemoteControllerServiceServicer_to_server, remote),
        Service(frontend_name, frontend_nvme_pb2_grpc.add_FrontendNvmeServiceServicer_to_server, frontend),
    )


def _path_options(config: Config) -> PathOptions:
    return PathOptions(
        io_queues=config.io_queues,
        ctrlr_loss_timeout_s=config.ctrlr_loss_timeout,
        reconnect_delay_s=config.reconnect_delay,
        fast_io_fail_timeout_s=config.fast_io_fail_timeout,
    )


def _initiator_options(config: Config) -> InitiatorOptions:
    return InitiatorOptions(
        bdev_retry_count=config.bdev_retry_count,
        transport_retry_count=config.transport_retry_count,
        adminq_poll_period_us=config.adminq_poll_period,
    )
