"""gRPC endpoints as people write them: unix:///run/x.sock, tcp://127.0.0.1:50051, tcp://[::1]:50051."""

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dpucsi.errors import FailedPreconditionError, InvalidArgumentError


@dataclass(frozen=True)
class Endpoint:
    """One address, either a unix socket's `path` or a TCP `address` (host:port)."""

    path: Path | None = None
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Raises InvalidArgumentError for anything but the three forms above."""
        parts = urlsplit(text)
        try:
            if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
                return cls(path=Path(parts.path))
            if parts.scheme == "tcp" and parts.hostname and parts.port is not None and not parts.path:
                return cls(address=parts.netloc)
        except ValueError:  # a port that is no number, or beyond 65535
            pass
        raise InvalidArgumentError(f"endpoint {text!r} is neither unix:///absolute/path nor tcp://host:port")

    @property
    def target(self) -> str:
        """As gRPC wants it."""
        return f"unix:{self.path}" if self.path else self.address

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.address}"


def claim_unix_path(path: Path) -> None:
    """Makes room for a listening socket: removes a stale one, refuses to take a live one from its owner.

    A socket file stays after a crash (spdk issue 2622); gRPC itself would unlink a live one without a word.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink() and not path.exists():
        return
    if not path.is_socket():
        raise FailedPreconditionError(f"{path} is in the way and is no socket; remove it or listen somewhere else")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise FailedPreconditionError(f"another process already listens on {path}; stop it or listen somewhere else")
