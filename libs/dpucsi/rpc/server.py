"""Serving: health, reflection, endpoints, and an end that lets running calls finish."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined, unused-ignore]
from grpc_reflection.v1alpha import reflection

from dpucsi.aio import Operations
from dpucsi.config import ServiceConfig
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError
from dpucsi.rpc.endpoint import Endpoint, claim_unix_path
from dpucsi.rpc.interceptor import Door
from dpucsi.rpc.tls import TlsFiles

log = structlog.get_logger(__name__)
KEEPALIVE = [
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


@dataclass(frozen=True)
class Service:
    """One gRPC service to serve: its full name, the generated add_…_to_server, the servicer."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: Any


def build(services: Sequence[Service]) -> grpc.aio.Server:
    """An unstarted server with the services, health and reflection."""
    server = grpc.aio.server(interceptors=[Door()], options=KEEPALIVE)
    for service in services:
        service.add(service.servicer, server)
    names = [service.name for service in services]
    reflection.enable_server_reflection(
        [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME], server
    )
    return server


async def serve(config: ServiceConfig, services: Sequence[Service], operations: Operations | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then refuses new calls, lets running ones end within `config.drain` s, returns.

    Raises InvalidArgumentError or FailedPreconditionError where an endpoint cannot be served.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = build(services)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    endpoints = [Endpoint.parse(text) for text in config.listen]
    for endpoint in endpoints:
        _listen(server, endpoint, config)
    await server.start()
    for name in ["", *(service.name for service in services)]:
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    log.info("serving", endpoints=[str(endpoint) for endpoint in endpoints])
    await stop.wait()
    log.info("stopping", drain_s=config.drain)
    await health.enter_graceful_shutdown()
    await server.stop(config.drain)
    if operations is not None:
        try:
            await asyncio.wait_for(operations.drain(), config.drain)
        except TimeoutError:
            log.warning("operations did not end in time; they resume when the service runs again")
    for endpoint in endpoints:
        if endpoint.path:
            endpoint.path.unlink(missing_ok=True)
    log.info("stopped")


def _listen(server: grpc.aio.Server, endpoint: Endpoint, config: ServiceConfig) -> None:
    try:
        if endpoint.path:
            claim_unix_path(endpoint.path)
            before = os.umask(0o177)  # the socket is born 0600: no moment in which others may connect
            try:
                server.add_insecure_port(endpoint.target)
            finally:
                os.umask(before)
            return
        tls = TlsFiles.of(config.tls_ca, config.tls_cert, config.tls_key)
        if tls is not None:
            server.add_secure_port(endpoint.target, tls.server_credentials())
        elif config.insecure:
            server.add_insecure_port(endpoint.target)
        else:
            raise InvalidArgumentError(
                f"{endpoint} is TCP and needs mTLS: give --tls-ca, --tls-cert and --tls-key (or --insecure in a lab)"
            )
    except RuntimeError as refused:
        raise FailedPreconditionError(f"cannot listen on {endpoint}: {refused}") from refused
