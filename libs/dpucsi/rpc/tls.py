"""TLS for TCP endpoints: mutual, or not at all, and the latter only when `--insecure` says so.

Certificates are renewed while services run: cert-manager and Kubernetes replace the files, the latter by swapping one
symlink under all three (`..data`). Each new connection has what the files hold then; a running one lives on.
"""

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from dpucsi.errors import InvalidArgumentError

log = structlog.get_logger(__name__)
READS = 5  # files that are replaced while they are read are read again, and not for ever

Mark = tuple[tuple[int, int, int, int], ...]  # of each file: device, inode, size, time of the last write


@dataclass(frozen=True)
class Pem:
    """What the files hold, proven to belong together."""

    ca: bytes
    cert: bytes
    key: bytes


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one side: the CA that the far side's certificate must come from, and this side's own pair."""

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def of(cls, ca: Path | None, cert: Path | None, key: Path | None) -> "TlsFiles | None":
        """All three or none; raises InvalidArgumentError for a part of them."""
        if ca and cert and key:
            return cls(ca, cert, key)
        if ca or cert or key:
            raise InvalidArgumentError("mTLS needs the CA, the certificate and the key: give all three files or none")
        return None

    def server_credentials(self) -> grpc.ServerCredentials:
        """Clients must show a certificate of the CA. The files are looked at before each handshake."""
        files = WatchedFiles(self)

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            pem = files.renewed()
            return _server_configuration(pem) if pem else None

        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(files.pem),
            renewed,  # type: ignore[arg-type]  # None says "as before"; the stubs do not know
            require_client_authentication=True,
        )

    def mark(self) -> Mark:
        """Differs when a file was replaced or written. Raises OSError."""
        seen = (path.stat() for path in (self.ca, self.cert, self.key))
        return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in seen)

    def read(self) -> Pem:
        """The files as they were at one moment. Raises InvalidArgumentError where they are of no use together."""
        try:
            for _ in range(READS):
                before = self.mark()
                pem = Pem(self.ca.read_bytes(), self.cert.read_bytes(), self.key.read_bytes())
                if self.mark() == before:
                    break
            self._check(pem)
        except ssl.SSLError as wrong:  # an OSError too
            raise InvalidArgumentError(
                f"the TLS files {self.ca}, {self.cert}, {self.key} are no CA, certificate and key that belong "
                f"together: {wrong.reason or wrong}"
            ) from wrong
        except OSError as unreadable:
            raise InvalidArgumentError(
                f"the TLS file {unreadable.filename} cannot be read: {unreadable.strerror}"
            ) from unreadable
        return pem

    def _check(self, pem: Pem) -> None:
        if stat.S_IMODE(self.key.stat().st_mode) & 0o007:  # its group may: a Secret in a pod that is not root's has one
            raise InvalidArgumentError(f"the key file {self.key} is readable by others; chmod 600 it")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key, password=_no_password)
        try:
            context.load_verify_locations(cadata=pem.ca.decode("ascii"))
        except ValueError as wrong:  # empty, or no ASCII
            raise InvalidArgumentError(f"the CA file {self.ca} holds no PEM certificate") from wrong


class WatchedFiles:
    """`pem` is what was read last. What is of no use is logged once, and the last good one stays."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises InvalidArgumentError where they are of no use."""
        self._files = files
        self._mark = _mark_of(files)
        self.pem = files.read()

    def renewed(self) -> Pem | None:
        """What the files hold now, where that is new and of use; three stat() calls otherwise. Raises nothing."""
        mark = _mark_of(self._files)
        if mark == self._mark:
            return None
        self._mark = mark
        try:
            pem = self._files.read()
        except InvalidArgumentError as wrong:
            log.error("renewed TLS files are not used, the former ones stay", error=str(wrong))
            return None
        if pem == self.pem:
            return None
        self.pem = pem
        log.info("TLS files renewed", cert=str(self._files.cert))
        return pem


def channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    """The server must show a certificate of the CA for the name that was dialled."""
    return grpc.ssl_channel_credentials(pem.ca, pem.key, pem.cert)


def _server_configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], root_certificates=pem.ca)


def _mark_of(files: TlsFiles) -> Mark | None:
    """None where one is not there: read() says which."""
    try:
        return files.mark()
    except OSError:
        return None


def _no_password() -> bytes:
    """Without it OpenSSL would ask on the terminal for an encrypted key's."""
    return b""
