"""TLS for TCP endpoints: mutual, or not at all, and the latter only when `--insecure` says so."""

import stat
from dataclasses import dataclass
from pathlib import Path

import grpc

from dpucsi.errors import InvalidArgumentError


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
        """Clients must show a certificate of the CA."""
        ca, cert, key = self._read()
        return grpc.ssl_server_credentials([(key, cert)], root_certificates=ca, require_client_auth=True)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The server must show a certificate of the CA for the name that was dialled."""
        ca, cert, key = self._read()
        return grpc.ssl_channel_credentials(ca, key, cert)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        try:
            if stat.S_IMODE(self.key.stat().st_mode) & 0o077:
                raise InvalidArgumentError(f"the key file {self.key} is readable by others; chmod 600 it")
            return self.ca.read_bytes(), self.cert.read_bytes(), self.key.read_bytes()
        except OSError as unreadable:
            raise InvalidArgumentError(
                f"the TLS file {unreadable.filename} cannot be read: {unreadable.strerror}"
            ) from unreadable
