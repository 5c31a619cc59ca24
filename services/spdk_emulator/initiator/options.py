"""How remote controllers behave: what bdev_nvme_set_options says of all, and an attach of one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossOptions:
    """Seconds. `ctrlr_loss_timeout`: after it a lost path is given up, with its bdevs; -1 and 0: never.

    `reconnect_delay`: between two tries; 0: tries go on, and I/O does not wait for them. `fast_io_fail_timeout`: I/O
    does not wait any longer from then on; 0: as long as there are tries.
    """

    ctrlr_loss_timeout: float = 0
    reconnect_delay: float = 0
    fast_io_fail_timeout: float = 0

    @property
    def is_valid(self) -> bool:
        """SPDK's own rules (bdev_nvme_check_io_error_resiliency_params)."""
        loss, delay, fast = self.ctrlr_loss_timeout, self.reconnect_delay, self.fast_io_fail_timeout
        if loss < -1:
            return False
        if loss == 0:
            return delay == 0 and fast == 0
        if delay == 0 or (fast and fast < delay):
            return False
        return loss == -1 or (delay <= loss and fast <= loss)

    def time_left(self, lost_s: float) -> float | None:
        """Seconds until a path is given up; None: never."""
        return max(self.ctrlr_loss_timeout - lost_s, 0.0) if self.ctrlr_loss_timeout > 0 else None

    def is_given_up(self, lost_s: float) -> bool:
        """Whether a try that failed `lost_s` after the loss was the last one."""
        return self.ctrlr_loss_timeout > 0 and lost_s >= self.ctrlr_loss_timeout

    def fails_io(self, lost_s: float) -> bool:
        """Whether I/O fails behind a try that failed `lost_s` after the loss."""
        return 0 < self.fast_io_fail_timeout <= lost_s


@dataclass(frozen=True)
class NvmeOptions:
    """What matters here of bdev_nvme_set_options, with SPDK's defaults.

    `bdev_retry_count`: tries of an I/O that the controller failed, -1 for no limit, 0: an I/O does not wait for a path
    either. `keep_alive_timeout_ms` 0: none. `transport_retry_count` is not here: SPDK's own TCP transport ignores it.
    """

    bdev_retry_count: int = 3
    keep_alive_timeout_ms: int = 10_000
    tcp_connect_timeout_ms: int = 0
    loss: LossOptions = LossOptions()

    @property
    def is_valid(self) -> bool:
        """SPDK's own rules (bdev_nvme_validate_opts)."""
        return self.bdev_retry_count >= -1 and self.loss.is_valid
