import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dpucsi import errors
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.rpc import Endpoint, Service, call, channel, code_of, error_of
from dpucsi.rpc.endpoint import claim_unix_path
from dpucsi.rpc.server import build
from dpucsi.rpc.status import CODES
from dpucsi.rpc.tls import TlsFiles
from dpucsi.testing.certificates import Certificates
from dpucsi.testing.ports import free_port

NAME = "dpucsi.node.v1.NodeService"
SERVER = """
import asyncio, sys
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.config import ServiceConfig
from dpucsi.process import run_service
from dpucsi.rpc import Service, serve

class Servicer(node_pb2_grpc.NodeServiceServicer):
    async def GetInfo(self, request, context):
        print("called", flush=True)
        await asyncio.sleep(1.0)
        return node_pb2.GetInfoResponse(dpu_uuid="late")

async def run(config):
    add = node_pb2_grpc.add_NodeServiceServicer_to_server
    await serve(config, [Service("dpucsi.node.v1.NodeService", add, Servicer())])

run_service("lab", "A lab service.", ServiceConfig, run)
"""


class Servicer(node_pb2_grpc.NodeServiceServicer):
    """Attach raises what its volume_id says; GetInfo answers."""

    async def GetInfo(self, request: Any, context: Any) -> node_pb2.GetInfoResponse:
        return node_pb2.GetInfoResponse(dpu_uuid="here")

    async def Attach(self, request: Any, context: Any) -> node_pb2.AttachResponse:
        if request.volume_id == "bug":
            raise ZeroDivisionError("the secret is hunter2")
        raise getattr(errors, request.volume_id)("what happened, what to do")


@dataclass
class Served:
    target: Endpoint
    stub: Any


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    target = Endpoint.parse(f"unix://{tmp_path}/s.sock")
    server = build([Service(NAME, node_pb2_grpc.add_NodeServiceServicer_to_server, Servicer())])
    server.add_insecure_port(target.target)
    await server.start()
    async with channel(target) as opened:
        yield Served(target, node_pb2_grpc.NodeServiceStub(opened))
    await server.stop(None)


@pytest.mark.parametrize("kind", CODES)
async def test_errors_cross_the_wire_unchanged(served: Served, kind: type[errors.DpucsiError]) -> None:
    with pytest.raises(kind, match="what happened, what to do") as raised:
        await call("there", served.stub.Attach, node_pb2.AttachRequest(volume_id=kind.__name__))
    assert type(raised.value) is kind


async def test_a_bug_is_internal_without_its_words(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Attach(node_pb2.AttachRequest(volume_id="bug"))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in (raised.value.details() or "")
    assert "request id" in (raised.value.details() or "")


async def test_what_has_no_word_here_is_trouble_over_there(served: Served) -> None:
    with pytest.raises(errors.UnavailableError, match="there failed with INTERNAL"):
        await call("there", served.stub.Attach, node_pb2.AttachRequest(volume_id="bug"))


async def test_a_call_the_server_lacks_is_unimplemented(served: Served) -> None:
    with pytest.raises(errors.UnimplementedError):
        await call("there", served.stub.Detach, node_pb2.DetachRequest())


async def test_an_8_mib_message_is_refused_and_hurts_nobody(served: Served) -> None:
    request = node_pb2.AttachRequest(publish_context={"x": "y" * (8 << 20)})
    with pytest.raises(errors.ResourceExhaustedError):
        await call("there", served.stub.Attach, request)
    assert (await call("there", served.stub.GetInfo, node_pb2.GetInfoRequest())).dpu_uuid == "here"


async def test_nobody_there_is_unavailable_and_named(tmp_path: Path) -> None:
    async with channel(Endpoint.parse(f"unix://{tmp_path}/none.sock")) as opened:
        stub = node_pb2_grpc.NodeServiceStub(opened)
        with pytest.raises(errors.UnavailableError, match="csi-node-dpu"):
            await call("csi-node-dpu", stub.GetInfo, node_pb2.GetInfoRequest(), timeout_s=2)


async def test_a_new_channel_does_not_wait_out_the_pause_of_another_one(tmp_path: Path) -> None:
    target = Endpoint.parse(f"unix://{tmp_path}/s.sock")
    server = build([Service(NAME, node_pb2_grpc.add_NodeServiceServicer_to_server, Servicer())])
    try:
        async with channel(target) as before, channel(target) as behind:
            with pytest.raises(errors.UnavailableError):
                await call("there", node_pb2_grpc.NodeServiceStub(before).GetInfo, node_pb2.GetInfoRequest())
            server.add_insecure_port(target.target)
            await server.start()
            await call("there", node_pb2_grpc.NodeServiceStub(behind).GetInfo, node_pb2.GetInfoRequest())
    finally:
        await server.stop(None)


def test_every_error_has_a_code_and_a_bare_one_is_a_bug() -> None:
    assert len(set(CODES.values())) == len(CODES)

    class Special(errors.NotFoundError):
        pass

    assert code_of(Special("x")) is grpc.StatusCode.NOT_FOUND
    assert code_of(errors.DpucsiError("x")) is grpc.StatusCode.INTERNAL


def test_a_code_without_reason_still_says_who() -> None:
    failed = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), None, None)
    assert "csi-node-dpu" in str(error_of("csi-node-dpu", failed))


@pytest.mark.parametrize(
    "text", ["", "x", "unix://x", "unix:x", "tcp://", "tcp://h", "tcp://h:99999", "tcp://h:1/x", "http://h:1"]
)
def test_malformed_endpoints(text: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="endpoint"):
        Endpoint.parse(text)


def test_a_stale_socket_is_removed_and_a_live_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    claim_unix_path(path)
    live = socket.socket(socket.AF_UNIX)
    live.bind(str(path))
    live.listen()
    with pytest.raises(errors.FailedPreconditionError, match="already listens"):
        claim_unix_path(path)
    live.close()
    claim_unix_path(path)
    assert not path.exists()
    path.write_text("a file of somebody")
    with pytest.raises(errors.FailedPreconditionError, match="no socket"):
        claim_unix_path(path)


async def started(tmp_path: Path, *options: str) -> asyncio.subprocess.Process:
    program = tmp_path / "server.py"
    program.write_text(SERVER)
    return await asyncio.create_subprocess_exec(
        sys.executable, str(program), *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def until_serving(process: asyncio.subprocess.Process) -> None:
    assert process.stderr
    while json.loads(await process.stderr.readline())["event"] != "serving":
        pass


async def test_sigterm_lets_a_running_call_end_and_removes_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    process = await started(tmp_path, "--listen", f"unix://{path}")
    await until_serving(process)
    assert path.stat().st_mode & 0o777 == 0o600
    async with channel(Endpoint.parse(f"unix://{path}")) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        assert (await health.Check(health_pb2.HealthCheckRequest(service=NAME))).status == 1
        running = asyncio.ensure_future(node_pb2_grpc.NodeServiceStub(opened).GetInfo(node_pb2.GetInfoRequest()))
        assert process.stdout
        assert await process.stdout.readline() == b"called\n"
        os.kill(process.pid, signal.SIGTERM)
        assert (await running).dpu_uuid == "late"
    assert await process.wait() == 0
    assert not path.exists()


async def test_tcp_without_tls_is_refused_with_what_to_do(tmp_path: Path) -> None:
    process = await started(tmp_path, "--listen", "tcp://127.0.0.1:0")
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"--tls-ca" in said


async def test_mtls_takes_the_right_certificate_and_no_other(tmp_path: Path) -> None:
    port = free_port()
    ours, theirs = Certificates.make(tmp_path / "ours"), Certificates.make(tmp_path / "theirs")
    process = await started(tmp_path, "--listen", f"tcp://127.0.0.1:{port}", *ours.options("dpu"))
    await until_serving(process)
    endpoint = Endpoint.parse(f"tcp://127.0.0.1:{port}")

    async def get_info(certificates: Certificates | None) -> str:
        folder = certificates and certificates.folder
        tls = TlsFiles(ours.folder / "ca.pem", folder / "host.pem", folder / "host.key") if folder else None
        async with channel(endpoint, tls) as opened:
            stub = node_pb2_grpc.NodeServiceStub(opened)
            return (await call("dpu", stub.GetInfo, node_pb2.GetInfoRequest(), timeout_s=5)).dpu_uuid

    try:
        assert await get_info(ours) == "late"
        for stranger in (theirs, None):
            with pytest.raises(errors.UnavailableError):
                await get_info(stranger)
    finally:
        process.terminate()
        await process.wait()


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    folder = Certificates.make(tmp_path).folder
    (folder / "dpu.key").chmod(0o644)
    with pytest.raises(errors.InvalidArgumentError, match="chmod 600"):
        TlsFiles(folder / "ca.pem", folder / "dpu.pem", folder / "dpu.key").server_credentials()
    with pytest.raises(errors.InvalidArgumentError, match="all three"):
        TlsFiles.of(folder / "ca.pem", None, None)
