"""The configuration of opi-bridge."""

from dataclasses import dataclass
from pathlib import Path

from dpucsi.config import ServiceConfig, option
from dpucsi.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """Times are in seconds where nothing else is said."""

    spdk: str = option("SPDK's JSON-RPC endpoint, unix:///path or tcp://host:port")
    state: Path = option("file that holds the desired objects; they outlive this service and SPDK")
    driver: str = option("DPU driver: emulated, vfio-user, nvmf-tcp, or another one that is installed")
    driver_option: tuple[str, ...] = option(
        "key=value for the DPU driver; repeat for more. emulated: card, functions; vfio-user: directory, functions; "
        "nvmf-tcp: address, base_port, functions, hostnqn",
        default=(),
    )
    spdk_timeout: float = option(
        "seconds for one SPDK call, waiting for SPDK to come back included; below --operation-limit",
        default=30.0,
    )
    reconcile_interval: float = option(
        "seconds between two looks at everything in SPDK; a look is one round of reads", default=30.0
    )
    reconcile_grace: float = option(
        "seconds that a controller waits for its namespaces after an SPDK restart, before its Host gets it without "
        "them: a dead target must not keep the other volumes of the function away",
        default=5.0,
    )
    io_queues: int = option(
        "I/O queues of a path where its remote controller does not say; 1 saves most of the target's memory", default=1
    )
    ctrlr_loss_timeout: int = option(
        "seconds after which SPDK gives up a lost path for good; -1 never: it reconnects when the target is back",
        default=-1,
    )
    reconnect_delay: int = option("seconds between two tries to reconnect a lost path", default=2)
    fast_io_fail_timeout: int = option(
        "seconds after which I/O to a volume without any path fails, so that a node can still shut down; 0: it waits",
        default=30,
    )
    bdev_retry_count: int = option("tries of one I/O; -1 goes on until the fast I/O fail timeout", default=-1)
    transport_retry_count: int = option("tries of one I/O on the same path", default=4)
    adminq_poll_period: int = option(
        "microseconds between two looks at an admin queue; 1000 instead of SPDK's 10000 attaches 15 % faster",
        default=1000,
    )

    def __post_init__(self) -> None:
        """What SPDK would refuse at each attach with "Invalid argument" is refused once, in words."""
        if self.spdk_timeout >= self.operation_limit:
            raise InvalidArgumentError("--spdk-timeout must be below --operation-limit")
        bounded = self.ctrlr_loss_timeout >= 0
        if self.reconnect_delay < 1:
            raise InvalidArgumentError("--reconnect-delay must be at least 1 second")
        if self.fast_io_fail_timeout and self.fast_io_fail_timeout < self.reconnect_delay:
            raise InvalidArgumentError("--fast-io-fail-timeout must be 0 or not below --reconnect-delay")
        if bounded and self.ctrlr_loss_timeout < max(self.reconnect_delay, self.fast_io_fail_timeout):
            raise InvalidArgumentError(
                "--ctrlr-loss-timeout must be -1 or not below --reconnect-delay and --fast-io-fail-timeout"
            )
