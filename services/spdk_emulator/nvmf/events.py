"""Asynchronous events of one controller (NVMe Base 2.0, section 5.2): who waits for one, and what waits for them."""

import asyncio
from collections import deque

from dpucsi.nvme_tcp.features import NOTICE_BITS, NOTICE_PAGES, AsyncEvent, Notice
from dpucsi.nvme_tcp.logs import LogId
from dpucsi.nvme_tcp.status import ABORT_REQUESTED, ABORTED_SQ_DELETION, AER_LIMIT_EXCEEDED, NvmeError
from dpucsi.nvme_tcp.target import Reply

REQUESTS_MAX = 4  # as SPDK (SPDK_NVMF_MAX_ASYNC_EVENTS)


class AsyncEvents:
    """An event of a kind is told once, until the host has read its log page without retaining the event."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._pending: deque[AsyncEvent] = deque()
        self._told: set[Notice] = set()

    async def request(self, cid: int) -> Reply:
        """Returns with the next event; raises NvmeError."""
        if self._pending:
            return Reply(self._pending.popleft().encode())
        if len(self._waiting) >= REQUESTS_MAX:
            raise NvmeError(AER_LIMIT_EXCEEDED, dnr=True)
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[cid] = waiting
        try:
            return await waiting
        finally:
            if self._waiting.get(cid) is waiting:
                del self._waiting[cid]

    def notice(self, notice: Notice, config: int) -> None:
        """Something has happened; `config`: what the host wants to be told."""
        if notice in self._told or not config & NOTICE_BITS[notice]:
            return
        self._told.add(notice)
        event = AsyncEvent.notice(notice)
        if self._waiting:
            self._waiting.pop(next(iter(self._waiting))).set_result(Reply(event.encode()))
        else:
            self._pending.append(event)

    def was_read(self, page: LogId) -> None:
        """The host knows what that page says: from now on it is told again."""
        self._told -= {notice for notice, of in NOTICE_PAGES.items() if of is page}

    def abort(self, cid: int) -> bool:
        """Ends one request; whether there was one."""
        waiting = self._waiting.pop(cid, None)
        if waiting is not None:
            waiting.set_exception(NvmeError(ABORT_REQUESTED))
        return waiting is not None

    def clear(self) -> None:
        """The controller was disabled, or is gone: all requests end, nothing is told any more."""
        self._pending.clear()
        self._told.clear()
        while self._waiting:
            self._waiting.popitem()[1].set_exception(NvmeError(ABORTED_SQ_DELETION))
