"""The probe against real servers of ours, and against those that misbehave."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from dpucsi.health import main
from dpucsi.rpc.tls import TlsFiles
from dpucsi.testing.certificates import Certificates

NAME = "dpucsi.node.v1.NodeService"
Status = health_pb2.HealthCheckResponse
HEAVY = ("grpc", "structlog", "google.protobuf", "ssl", "asyncio")  # what a probe of a unix socket does without


@dataclass
class Served:
    health: health_aio.HealthServicer
    unix: str
    tcp: str
    tls: list[str]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    certificates = Certificates.make(tmp_path / "tls")
    files = TlsFiles(*(certificates.folder / name for name in ("ca.pem", "dpu.pem", "dpu.key")))
    server, health = grpc.aio.server(), health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"unix:{tmp_path}/s.sock")
    port = server.add_secure_port("127.0.0.1:0", files.server_credentials())
    await server.start()
    await health.set("", Status.SERVING)
    await health.set(NAME, Status.SERVING)
    yield Served(health, f"unix://{tmp_path}/s.sock", f"tcp://127.0.0.1:{port}", certificates.options("host"))
    await server.stop(None)


async def probed(*argv: str) -> int:
    return await asyncio.to_thread(main, argv)


@pytest.mark.parametrize("service", [(), ("--service", NAME)])
async def test_who_serves_is_healthy(served: Served, service: tuple[str, ...]) -> None:
    assert await probed("--endpoint", served.unix, *service) == 0
    assert await probed("--endpoint", served.tcp, *served.tls, *service) == 0


async def test_who_drains_is_not(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    await served.health.enter_graceful_shutdown()
    assert await probed("--endpoint", served.unix, "--service", NAME) == 1
    assert capsys.readouterr().err == f"{served.unix}: {NAME} is NOT_SERVING\n"


async def test_a_service_that_is_not_there(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert await probed("--endpoint", served.unix, "--service", "csi.v1.Node") == 1
    assert "no such service" in capsys.readouterr().err


async def test_tls_without_a_certificate_and_the_other_way_round(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await probed("--endpoint", served.tcp) == 1
    assert served.tcp in capsys.readouterr().err
    strange = Certificates.make(Path(served.tls[1]).parent / "strange")
    assert await probed("--endpoint", served.tcp, *strange.options("host")) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err


async def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await probed("--endpoint", f"unix://{tmp_path}/none.sock") == 1
    assert f"unix://{tmp_path}/none.sock: it cannot be asked: No such file" in capsys.readouterr().err
    assert await probed("--endpoint", "http://example.org") == 1
    assert "neither unix:///absolute/path nor tcp://host:port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sends", "said"),
    [
        (b"", "closed the connection"),
        (None, "no answer within 0.2 s"),
        (b"\0\0\0\7\0\0\0\0\0", "going away"),
        (b"\0\0\4\3\0\0\0\0\1" + bytes(4), "no such service"),
    ],
)
async def test_a_server_that_gives_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sends: bytes | None, said: str
) -> None:
    release = asyncio.Event()

    async def misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        if sends is None:
            await release.wait()
        else:
            writer.write(sends)
        writer.close()

    async with await asyncio.start_unix_server(misbehave, tmp_path / "s.sock"):
        assert await probed("--endpoint", f"unix://{tmp_path}/s.sock", "--timeout", "0.2") == 1
        release.set()
    assert said in capsys.readouterr().err


def test_half_of_the_tls_files_is_a_wrong_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--endpoint", "tcp://127.0.0.1:1", "--tls-ca", "/ca.pem"])
    assert "together" in capsys.readouterr().err


def test_it_imports_nothing_heavy() -> None:
    look = f"import sys, dpucsi.health; print([name for name in {HEAVY!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
