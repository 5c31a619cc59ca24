"""csi-node-host --dpu node: it serves from the start, and calls the DPU that its Node names at that moment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from csi_node_host.config import Config
from csi_node_host.dpu import Dpu
from csi_node_host.pairing import ChannelOf, channel_to_dpu, kubernetes, publications
from dpucsi.aio import wait_until
from dpucsi.api.node.v1 import node_pb2, node_pb2_grpc
from dpucsi.config import load
from dpucsi.errors import InvalidArgumentError, UnavailableError
from dpucsi.naming import VolumeId
from dpucsi.rpc.tls import TlsFiles
from dpucsi.testing.certificates import Certificates
from dpucsi.testing.fake_kube import ATTACHMENTS, NODES, FakeKube

DPU_NODE, DPU_ENDPOINT = "csi.dpucsi.io/dpu-node", "csi.dpucsi.io/dpu-endpoint"


class OneDpu(node_pb2_grpc.NodeServiceServicer):
    def __init__(self) -> None:
        self.uuid = uuid4()
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.asked = asyncio.Event()

    async def GetInfo(self, request: node_pb2.GetInfoRequest, context: Any) -> node_pb2.GetInfoResponse:
        self.asked.set()
        await self.let_go.wait()
        return node_pb2.GetInfoResponse(dpu_uuid=str(self.uuid))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    servers: list[grpc.aio.Server] = []

    async def serve(dpu: OneDpu, tls: TlsFiles | None = None) -> int:
        server = grpc.aio.server()
        node_pb2_grpc.add_NodeServiceServicer_to_server(dpu, server)
        port = (
            server.add_secure_port("127.0.0.1:0", tls.server_credentials())
            if tls
            else server.add_insecure_port("127.0.0.1:0")
        )
        await server.start()
        servers.append(server)
        return port

    yield serve
    for server in servers:
        await server.stop(None)


def config(kube: FakeKube, folder: Path, *options: str) -> Config:
    kubeconfig = folder / "kubeconfig"
    kube.write_kubeconfig(kubeconfig)
    argv = ["--listen=unix:///x", "--dpu=node", "--node=host-a", f"--kubeconfig={kubeconfig}", *options]
    return load(Config, prog="csi-node-host", description="", argv=argv, environ={})


async def node(kube: FakeKube, name: str, *, dpu_node: str = "", dpu_endpoint: str = "") -> None:
    metadata = {"labels": {DPU_NODE: dpu_node}, "annotations": {DPU_ENDPOINT: dpu_endpoint}}
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    await kube.put(NODES, name, metadata=metadata, status=status)


async def is_called(dpu: Dpu, uuid: UUID) -> None:
    async def answers() -> bool | None:
        try:
            return (await dpu.info()).dpu_uuid == str(uuid) or None
        except UnavailableError:
            return None

    await wait_until(answers, f"DPU {uuid} is called", timeout_s=10)


async def is_refused(dpu: Dpu, words: str) -> None:
    async def refused() -> bool | None:
        try:
            await dpu.info()
        except UnavailableError as error:
            return words in str(error) or None
        return None

    await wait_until(refused, f"UNAVAILABLE with {words}", timeout_s=10)


@asynccontextmanager
async def to_dpu(settings: Config, tls: TlsFiles | None) -> AsyncIterator[ChannelOf]:
    async with kubernetes(settings) as api, channel_to_dpu(settings, tls, api) as channel:
        yield channel


async def test_it_follows_the_node(kube: FakeKube, serve: Callable[..., Any], tmp_path: Path) -> None:
    one, two = OneDpu(), OneDpu()
    port = await serve(one)
    async with to_dpu(config(kube, tmp_path, "--insecure", f"--dpu-port={port}"), None) as channel:
        dpu = Dpu(channel, "boot")
        await is_refused(dpu, "there is no Node host-a")
        await node(kube, "host-a")
        await is_refused(dpu, f"label it {DPU_NODE}=")
        await node(kube, "dpu-a")
        await node(kube, "host-a", dpu_node="dpu-a")
        await is_called(dpu, one.uuid)
        one.let_go.clear()
        one.asked.clear()
        running = asyncio.create_task(dpu.info())
        await asyncio.wait_for(one.asked.wait(), 10)
        held, one.let_go = one.let_go, asyncio.Event()
        one.let_go.set()
        await node(kube, "host-a", dpu_endpoint=f"tcp://127.0.0.1:{await serve(two)}")
        await is_called(dpu, two.uuid)
        held.set()
        assert (await running).dpu_uuid == str(one.uuid), "a call in flight ends where it began"
        await node(kube, "host-a", dpu_endpoint="somewhere")
        await is_refused(dpu, "'somewhere' is neither")


async def test_no_api_server_is_said(kube: FakeKube, serve: Callable[..., Any], tmp_path: Path) -> None:
    one = OneDpu()
    settings = config(kube, tmp_path, "--insecure", f"--dpu-port={await serve(one)}")
    await node(kube, "host-a", dpu_node="dpu-a")
    await node(kube, "dpu-a")
    await kube.stop()
    async with to_dpu(settings, None) as channel:
        dpu = Dpu(channel, "boot")
        await is_refused(dpu, "has not been read yet")
        await kube.start()
        await is_called(dpu, one.uuid)


async def test_dpus_share_the_name_in_their_certificates(
    kube: FakeKube, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """They are called by address, and no certificate names every address."""
    certificates = Certificates.make(tmp_path / "tls", "csi-node-dpu")
    folder = certificates.folder
    one = OneDpu()
    port = await serve(one, TlsFiles(folder / "ca.pem", folder / "dpu.pem", folder / "dpu.key"))
    await node(kube, "dpu-a")
    await node(kube, "host-a", dpu_node="dpu-a")
    tls = TlsFiles(folder / "ca.pem", folder / "host.pem", folder / "host.key")
    named = config(kube, tmp_path, f"--dpu-port={port}", "--dpu-tls-name=csi-node-dpu")
    async with to_dpu(named, tls) as channel:
        await is_called(Dpu(channel, "boot"), one.uuid)
    async with to_dpu(config(kube, tmp_path, f"--dpu-port={port}"), tls) as channel:
        await is_refused(Dpu(channel, "boot"), "")
        assert one.asked.is_set()


async def test_without_certificates_it_does_not_start(kube: FakeKube, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="--insecure"):
        async with to_dpu(config(kube, tmp_path), None):
            pass


async def test_a_volume_is_published_while_its_attachment_is_there(kube: FakeKube, tmp_path: Path) -> None:
    """The name is what Kubernetes 1.37 gave this very attachment."""
    name = "csi-9d741a0287179cf7914feac67b4f7900cc3a1db628e9a177b718f6e7c81fbfef"
    settings = config(kube, tmp_path, "--insecure")
    async with kubernetes(settings) as api:
        is_published = publications(settings, api)
        assert is_published is not None
        volume_id = VolumeId("pool-a", UUID("c3aea0d5-64ba-5af2-b35e-012af23b8460"))
        assert not await is_published(volume_id)
        await kube.put(ATTACHMENTS, name)
        assert await is_published(volume_id)
        await kube.stop()
        with pytest.raises(UnavailableError):
            await is_published(volume_id)


async def test_who_uses_no_kubernetes_cannot_tell(kube: FakeKube, tmp_path: Path) -> None:
    settings = config(kube, tmp_path, "--insecure", "--dpu=tcp://127.0.0.1:1")
    async with kubernetes(settings) as api:
        assert publications(settings, api) is None
