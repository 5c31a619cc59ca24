"""What spdk-emulator is told."""

from dataclasses import dataclass
from pathlib import Path

from dpucsi.config import option
from dpucsi.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of spdk-emulator."""

    rpc: str = option("JSON-RPC endpoint to serve, unix:///path or tcp://host:port (no TLS: keep it on loopback)")
    json: Path | None = option("start-up configuration in SPDK's save_config form", default=None)
    look_ms: float = option("milliseconds between two looks at the JSON-RPC socket; SPDK's own is 4", default=4.0)
    attach_ms: float = option("milliseconds that bdev_nvme_attach_controller takes; recorded 65 to 80", default=65.0)
    log_format: str = option("how log lines look", default="json", choices=("json", "console"))
    log_level: str = option("lowest level logged", default="info", choices=("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        """Compares options with their limits; raises InvalidArgumentError."""
        if self.look_ms <= 0 or self.attach_ms < 0:
            raise InvalidArgumentError("--look-ms must be more than 0, --attach-ms not negative")
