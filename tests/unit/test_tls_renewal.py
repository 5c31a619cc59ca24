"""Certificates that are replaced under running services, over real sockets."""

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
import trustme

from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.errors import InvalidArgumentError, UnavailableError
from dpucsi.rpc import Endpoint, Service, call, channel
from dpucsi.rpc.server import build
from dpucsi.rpc.tls import TlsFiles, WatchedFiles

NAME = "dpucsi.node.v1.NodeService"


class Secret:
    """A Secret as the kubelet mounts it: files that are links through `..data`, which is swapped in one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = TlsFiles(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
        self._count = 0
        folder.mkdir()

    def write(self, authority: trustme.CA, issued: trustme.LeafCert) -> None:
        self._count += 1
        version = self.folder / f"..{self._count}"
        version.mkdir()
        (version / "ca.crt").write_bytes(authority.cert_pem.bytes())
        (version / "tls.crt").write_bytes(issued.cert_chain_pems[0].bytes())
        (version / "tls.key").touch(mode=0o640)
        (version / "tls.key").write_bytes(issued.private_key_pem.bytes())
        (self.folder / "..new").symlink_to(version.name)
        (self.folder / "..new").rename(self.folder / "..data")
        for name in ("ca.crt", "tls.crt", "tls.key"):
            if self._count == 1:
                (self.folder / name).symlink_to(f"..data/{name}")
        if self._count > 1:
            shutil.rmtree(self.folder / f"..{self._count - 1}")


@dataclass
class Servicer(node_pb2_grpc.NodeServiceServicer):
    """Says by which name its caller is known; Release waits."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def GetInfo(self, request: Any, context: Any) -> node_pb2.GetInfoResponse:
        return node_pb2.GetInfoResponse(dpu_uuid=context.auth_context()["x509_common_name"][0].decode())

    async def Release(self, request: Any, context: Any) -> node_pb2.ReleaseResponse:
        self.entered.set()
        await self.go.wait()
        return node_pb2.ReleaseResponse()


@dataclass
class Ends:
    authority: trustme.CA
    server: Secret
    client: Secret
    servicer: Servicer
    port: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.parse(f"tcp://127.0.0.1:{self.port}")

    def shown(self) -> bytes:
        """The certificate that a new connection is shown (DER)."""
        context = ssl.create_default_context(cadata=self.client.files.ca.read_text())
        context.load_cert_chain(self.client.files.cert, self.client.files.key)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""


def leaf(authority: trustme.CA, name: str) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1", common_name=name)


def der(issued: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    authority = trustme.CA()
    server_side, client_side = Secret(tmp_path / "server"), Secret(tmp_path / "client")
    server_side.write(authority, leaf(authority, "server-1"))
    client_side.write(authority, leaf(authority, "client-1"))
    servicer = Servicer()
    server = build([Service(NAME, node_pb2_grpc.add_NodeServiceServicer_to_server, servicer)])
    port = server.add_secure_port("127.0.0.1:0", server_side.files.server_credentials())
    await server.start()
    yield Ends(authority, server_side, client_side, servicer, port)
    await server.stop(None)


async def who(opened: grpc.aio.Channel) -> str:
    stub = node_pb2_grpc.NodeServiceStub(opened)
    return (await call("server", stub.GetInfo, node_pb2.GetInfoRequest(), timeout_s=5)).dpu_uuid


async def test_new_connections_are_shown_the_new_one(ends: Ends) -> None:
    before = await asyncio.to_thread(ends.shown)
    renewed = leaf(ends.authority, "server-2")
    ends.server.write(ends.authority, renewed)
    assert before != await asyncio.to_thread(ends.shown) == der(renewed)


async def test_a_running_call_lives_on_at_both_ends(ends: Ends) -> None:
    async with channel(ends.endpoint, ends.client.files) as opened:
        stub = node_pb2_grpc.NodeServiceStub(opened)
        running = asyncio.create_task(call("server", stub.Release, node_pb2.ReleaseRequest(), timeout_s=20))
        await ends.servicer.entered.wait()
        ends.server.write(ends.authority, leaf(ends.authority, "server-2"))
        ends.client.write(ends.authority, leaf(ends.authority, "client-2"))
        assert await who(opened) == "client-2"
        ends.servicer.go.set()
        await running


async def test_a_stub_goes_on_with_the_client_s_new_one(ends: Ends) -> None:
    async with channel(ends.endpoint, ends.client.files) as opened:
        stub = node_pb2_grpc.NodeServiceStub(opened)
        assert (await stub.GetInfo(node_pb2.GetInfoRequest())).dpu_uuid == "client-1"
        ends.client.write(ends.authority, leaf(ends.authority, "client-2"))
        assert (await stub.GetInfo(node_pb2.GetInfoRequest())).dpu_uuid == "client-2"


async def test_a_far_side_that_takes_its_time_to_shake_hands(ends: Ends) -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.read(4096)
        await asyncio.sleep(1.2)
        there, back = await asyncio.open_connection("127.0.0.1", ends.port)
        back.write(hello)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
        sink.close()

    async with await asyncio.start_server(slowly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with channel(Endpoint.parse(f"tcp://127.0.0.1:{port}"), ends.client.files) as opened:
            assert await who(opened) == "client-1"


async def test_another_ca_at_both_ends(ends: Ends) -> None:
    other = trustme.CA()
    async with channel(ends.endpoint, ends.client.files) as opened:
        assert await who(opened) == "client-1"
        ends.server.write(other, leaf(other, "server-2"))
        async with channel(ends.endpoint, ends.client.files) as late:
            with pytest.raises(UnavailableError):  # neither knows the other now
                await who(late)
        assert await who(opened) == "client-1"  # the old connection is not touched
        ends.client.write(other, leaf(other, "client-2"))
        assert await who(opened) == "client-2"


async def test_a_pair_that_does_not_belong_together_is_not_used(ends: Ends) -> None:
    before, renewed = await asyncio.to_thread(ends.shown), leaf(ends.authority, "server-2")
    with structlog.testing.capture_logs() as logs:
        ends.server.files.cert.write_bytes(renewed.cert_chain_pems[0].bytes())  # and the key is still the old one
        assert await asyncio.to_thread(ends.shown) == before
        assert await asyncio.to_thread(ends.shown) == before
    assert [entry["log_level"] for entry in logs if "TLS files" in entry["event"]] == ["error"]  # once, not each time
    ends.server.files.key.write_bytes(renewed.private_key_pem.bytes())
    assert await asyncio.to_thread(ends.shown) == der(renewed)


@pytest.mark.parametrize("spoilt", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None])
def test_what_is_of_no_use_keeps_the_last_good_one(tmp_path: Path, spoilt: str, content: bytes | None) -> None:
    authority, secret = trustme.CA(), Secret(tmp_path / "s")
    secret.write(authority, leaf(authority, "one"))
    watched = WatchedFiles(secret.files)
    good = watched.pem
    file: Path = getattr(secret.files, spoilt)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert watched.renewed() is None
    assert watched.pem == good
    with pytest.raises(InvalidArgumentError, match=str(tmp_path)):
        WatchedFiles(secret.files)


def test_the_same_content_again_is_nothing_new(tmp_path: Path) -> None:
    authority, secret = trustme.CA(), Secret(tmp_path / "s")
    issued = leaf(authority, "one")
    secret.write(authority, issued)
    watched = WatchedFiles(secret.files)
    secret.write(authority, issued)
    assert watched.renewed() is None
    secret.write(authority, leaf(authority, "two"))
    assert watched.renewed() is watched.pem
    assert watched.renewed() is None
