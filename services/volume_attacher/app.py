"""Builds volume-attacher's objects and serves."""

import asyncio
from contextlib import suppress

from dpucsi.aio import Operations
from dpucsi.api.attacher.v1 import attacher_pb2_grpc
from dpucsi.opi import OpiClient
from dpucsi.rpc import Endpoint, Service, serve
from dpucsi.rpc.tls import TlsFiles
from dpucsi.store import Records, resolve_identity
from volume_attacher.attacher import AttacherServicer
from volume_attacher.config import Config
from volume_attacher.dpu import Dpu
from volume_attacher.reconcile import Reconciler
from volume_attacher.table import Table

SERVICE = "dpucsi.attacher.v1.AttacherService"


async def serve_volume_attacher(config: Config) -> None:
    """Until SIGTERM."""
    identity = resolve_identity(config.dpu_uuid)
    store = Records.open(config.state)
    tls = TlsFiles.of(config.tls_ca, config.tls_cert, config.tls_key)
    opi = OpiClient(Endpoint.parse(config.opi), tls)
    dpu = Dpu(identity, config.functions(), opi, Table(store))
    reconciler = Reconciler(dpu, config.reconcile_period)
    operations = Operations(config.operation_limit)
    servicer = AttacherServicer(dpu, operations, reconciler, config.transports)
    reconciling = asyncio.create_task(reconciler.run())
    try:
        add = attacher_pb2_grpc.add_AttacherServiceServicer_to_server
        await serve(config, [Service(SERVICE, add, servicer)], operations)
    finally:
        reconciling.cancel()
        with suppress(asyncio.CancelledError):
            await reconciling
        await opi.close()
        await store.close()
