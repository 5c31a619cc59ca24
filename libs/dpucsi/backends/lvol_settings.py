"""The table of a storage backend of type spdk-lvol."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dpucsi.backends.listeners import parse_listeners
from dpucsi.backends.settings import read_table, setting
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import TargetPath
from dpucsi.spdk import Endpoint, TlsFiles

CLEAR_METHODS = ("unmap", "write_zeroes", "none")  # bdev_lvol_create


def _clear_method(text: str) -> str:
    if text not in CLEAR_METHODS:
        raise InvalidArgumentError(f"{text!r} is none of {', '.join(CLEAR_METHODS)}")
    return text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One SPDK process, one lvol store in it, the addresses at which its target listens."""

    rpc: str = setting("the JSON-RPC endpoint of SPDK: unix:///path, tcp://host:port or tls://host:port")
    lvstore: str = setting("the name of the lvol store that holds the volumes")
    listeners: tuple[TargetPath, ...] = setting(
        'addresses that DPUs connect to, ["tcp://10.0.0.1:4420"]; several are several paths to the same volume',
        parse=parse_listeners,
    )
    clear_method: str = setting(
        "how SPDK clears the clusters of a deleted volume: unmap (quick; zeroes only where the disk below reads zeroes "
        "after it), write_zeroes (always zeroes, takes as long as writing them) or none",
        default="unmap",
        parse=_clear_method,
    )
    tls_ca: str = setting("tls:// only: PEM file of the CA that signed SPDK's certificate", default="")
    tls_cert: str = setting("tls:// only: PEM file of the controller's certificate", default="")
    tls_key: str = setting("tls:// only: PEM file of the controller's private key, mode 0600", default="")

    @classmethod
    def of(cls, table: Mapping[str, object]) -> Self:
        """Raises InvalidArgumentError that names the key."""
        settings = read_table(cls, table)
        if not settings.lvstore:
            raise InvalidArgumentError("lvstore is empty; name one (bdev_lvol_get_lvstores)")
        Endpoint.parse(settings.rpc, TlsFiles(*settings.tls) if settings.tls else None)
        return settings

    @property
    def trtype(self) -> str:
        """The one transport of all listeners."""
        return self.listeners[0].trtype

    @property
    def tls(self) -> tuple[Path, Path, Path] | None:
        """CA, certificate, key; None without TLS."""
        given = (self.tls_ca, self.tls_cert, self.tls_key)
        if not any(given):
            return None
        if not all(given):
            raise InvalidArgumentError("tls_ca, tls_cert and tls_key belong together; give all three or none")
        ca, cert, key = (Path(text) for text in given)
        return ca, cert, key
