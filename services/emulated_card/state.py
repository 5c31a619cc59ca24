"""Where the commands of one namespace go: the states, and what one command does next in each. Pure."""

import errno
from dataclasses import dataclass

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.status import NvmeError, Status
from emulated_card.controller import Controller

RETRIES = 5  # of a command that failed and may be sent again; the kernel's nvme_core.max_retries


@dataclass(frozen=True, eq=False)
class Live:
    """This controller serves the namespace."""

    controller: Controller


@dataclass(frozen=True)
class Waiting:
    """Nobody serves it now; commands wait, as they do in a real card whose firmware starts again."""


@dataclass(frozen=True)
class Gone:
    """It was withdrawn. Final."""


State = Live | Waiting | Gone


@dataclass(frozen=True)
class Send:
    """The command goes to this controller."""

    controller: Controller


@dataclass(frozen=True)
class Wait:
    """The command waits for another state."""


@dataclass(frozen=True)
class Fail:
    """The command ends with this errno."""

    number: int


Step = Send | Wait | Fail


def step(state: State, lost: Controller | None) -> Step:
    """What a command does now; `lost`: the controller that went away with it. Sent again, it is the same command."""
    match state:
        case Gone():
            return Fail(errno.EIO)
        case Live(controller) if controller is not lost:
            return Send(controller)
        case _:
            return Wait()


def after_error(error: NvmeError, tries: int) -> Fail | None:
    """What follows when the `tries`-th try was refused; None: it is tried again (nvme_decide_disposition)."""
    if not error.dnr and tries <= RETRIES:
        return None
    return Fail(_ERRNO.get(error.status, errno.EIO))


# As Linux says it: drivers/nvme/host/core.c, nvme_error_status, and blk_errors of block/blk-core.c. A namespace that is
# not valid any more is EIO here, though, and not EOPNOTSUPP: the device is about to be withdrawn.
_ERRNO: dict[Status, int] = {
    status.CAPACITY_EXCEEDED: errno.ENOSPC,
    status.LBA_OUT_OF_RANGE: errno.EREMOTEIO,
    status.COMMAND_INTERRUPTED: errno.EREMOTEIO,
    status.NAMESPACE_NOT_READY: errno.EREMOTEIO,
    status.CONFLICTING_ATTRIBUTES: errno.EOPNOTSUPP,
    status.INVALID_OPCODE: errno.EOPNOTSUPP,
    status.INVALID_FIELD: errno.EOPNOTSUPP,
    status.WRITE_FAULT: errno.ENODATA,
    status.UNRECOVERED_READ_ERROR: errno.ENODATA,
    status.ACCESS_DENIED: errno.ENODATA,
    status.WRITE_TO_READ_ONLY_RANGE: errno.ENODATA,
    status.COMPARE_FAILURE: errno.ENODATA,
    status.HOST_PATH_ERROR: errno.ENOLINK,
}
