"""What emulated-card is told."""

from dataclasses import dataclass
from pathlib import Path

from dpucsi.config import option
from dpucsi.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of emulated-card."""

    folder: Path = option(
        "folder of the card: SPDK listens (VFIOUSER) in functions/<function>, the Host's devices are in sys/ and dev/"
    )
    recovery: float = option(
        "seconds that a device waits for its namespace once SPDK is back without it, or its listener is gone",
        default=30.0,
    )
    log_format: str = option("how log lines look", default="json", choices=("json", "console"))
    log_level: str = option("lowest level logged", default="info", choices=("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        """Compares options with their limits; raises InvalidArgumentError."""
        if self.recovery < 0:
            raise InvalidArgumentError("--recovery must not be negative")
        if not self.folder.is_absolute():
            raise InvalidArgumentError(f"--folder {self.folder} must be an absolute path, as SPDK is told it")
