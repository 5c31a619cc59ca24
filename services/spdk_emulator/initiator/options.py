"""How one remote controller was asked to behave when its path is lost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossOptions:
    """Seconds. `ctrlr_loss_timeout` -1: try for ever; 0: do not try. `reconnect_delay`: between two tries.

    `fast_io_fail_timeout` is checked and kept; I/O does not pass through the emulator, so it has no effect.
    """

    ctrlr_loss_timeout: int = 0
    reconnect_delay: int = 0
    fast_io_fail_timeout: int = 0

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
