"""Where SPDK listens and who may speak there: endpoints as they are written, TCP, and TLS with both sides proven."""

import ssl
from pathlib import Path

import pytest
import trustme
from tests.unit.spdk.scripted_spdk import ScriptedSpdk

from dpucsi.errors import InvalidArgumentError, UnavailableError
from dpucsi.spdk import SpdkClient, TlsFiles


async def test_over_tcp() -> None:
    async with ScriptedSpdk() as far, SpdkClient(far.endpoint) as client:
        assert await client.call("echo", {"a": 1}) == {"a": 1}


@pytest.fixture
def files(tmp_path: Path) -> tuple[TlsFiles, TlsFiles]:
    """What the client and the server prove themselves with."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = []
    for name in ("client", "127.0.0.1"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
        made.append(TlsFiles(tmp_path / "ca.pem", tmp_path / f"{name}.pem", tmp_path / f"{name}.key"))
    return made[0], made[1]


def server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_over_tls_with_both_sides_proven(files: tuple[TlsFiles, TlsFiles]) -> None:
    async with (
        ScriptedSpdk(tls=server_context(files[1])) as far,
        SpdkClient(far.endpoint, tls=files[0]) as client,
    ):
        assert await client.call("echo", {"a": "x" * 100_000}) == {"a": "x" * 100_000}


async def test_a_peer_that_another_authority_signed_is_not_spoken_to(
    files: tuple[TlsFiles, TlsFiles], tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    mistrusting = TlsFiles(tmp_path / "other.pem", files[0].cert, files[0].key)
    async with ScriptedSpdk(tls=server_context(files[1])) as far, SpdkClient(far.endpoint, tls=mistrusting) as client:
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.call("echo", timeout=0.5)


@pytest.mark.parametrize(
    "endpoint", ["", "unix://x", "unix:x", "tcp://h", "tcp://:1", "http://h:1", "tcp://h:1/p", "tcp://h:x"]
)
def test_a_malformed_endpoint(endpoint: str) -> None:
    with pytest.raises(InvalidArgumentError, match="endpoint"):
        SpdkClient(endpoint)


def test_tls_needs_files_and_files_need_tls(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="certificate files"):
        SpdkClient("tls://h:1")
    with pytest.raises(InvalidArgumentError, match="certificate files"):
        SpdkClient("tcp://h:1", tls=TlsFiles(tmp_path, tmp_path, tmp_path))
