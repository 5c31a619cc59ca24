"""What one command does next: tables."""

import errno
from typing import Any, cast

import pytest

from dpucsi.nvme_tcp import status
from dpucsi.nvme_tcp.status import NvmeError, Status
from emulated_card.controller import Controller
from emulated_card.state import RETRIES, Fail, Gone, Live, Send, State, Step, Wait, Waiting, after_error, step

ONE, OTHER = (cast(Controller, object()) for _ in range(2))


@pytest.mark.parametrize(
    ("state", "lost", "wanted"),
    [
        (Live(ONE), None, Send(ONE)),
        (Live(ONE), ONE, Wait()),
        (Live(OTHER), ONE, Send(OTHER)),
        (Waiting(), None, Wait()),
        (Waiting(), ONE, Wait()),
        (Gone(), None, Fail(errno.EIO)),
        (Gone(), ONE, Fail(errno.EIO)),
    ],
)
def test_step(state: State, lost: Any, wanted: Step) -> None:
    assert step(state, lost) == wanted


@pytest.mark.parametrize(
    ("how", "number"),
    [
        (status.INTERNAL_ERROR, errno.EIO),
        (status.INVALID_NAMESPACE, errno.EIO),
        (status.CAPACITY_EXCEEDED, errno.ENOSPC),
        (status.LBA_OUT_OF_RANGE, errno.EREMOTEIO),
        (status.NAMESPACE_NOT_READY, errno.EREMOTEIO),
        (status.INVALID_OPCODE, errno.EOPNOTSUPP),
        (status.UNRECOVERED_READ_ERROR, errno.ENODATA),
        (status.HOST_PATH_ERROR, errno.ENOLINK),
    ],
)
def test_an_error_is_said_as_the_kernel_says_it(how: Status, number: int) -> None:
    assert after_error(NvmeError(how, dnr=True), tries=1) == Fail(number)


@pytest.mark.parametrize(
    ("dnr", "tries", "is_tried_again"),
    [(False, 1, True), (False, RETRIES, True), (False, RETRIES + 1, False), (True, 1, False)],
)
def test_tries(dnr: bool, tries: int, is_tried_again: bool) -> None:
    assert (after_error(NvmeError(status.INTERNAL_ERROR, dnr=dnr), tries) is None) == is_tried_again
