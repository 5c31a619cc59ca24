"""The asyncio client of one SPDK: one long-lived connection, many requests in flight, reconnected when it drops."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from itertools import count
from types import TracebackType
from typing import Self

import structlog

from dpucsi.aio import remaining
from dpucsi.errors import DpucsiError, InvalidArgumentError, TimedOutError, UnavailableError
from dpucsi.spdk.connection import Connection, NotSentError
from dpucsi.spdk.endpoint import Endpoint, TlsFiles
from dpucsi.spdk.errors import SpdkError
from dpucsi.spdk.framework import Version, framework_get_reactors, rpc_get_methods, spdk_get_version
from dpucsi.spdk.instance import Instance, Lineage, Sighting
from dpucsi.spdk.jsonrpc import Json, Params
from dpucsi.spdk.trace import Trace

WINDOW = 128  # requests in flight; above about 500 SPDK runs out of memory
WINDOW_MAX = 400
TIMEOUT_S = 30.0
CONNECT_S = 10.0  # for connecting and for the first three answers; a healthy SPDK needs some 10 ms
BACKOFF_FIRST_S, BACKOFF_LONGEST_S = 0.05, 2.0
GRACE_S = 5.0

log = structlog.get_logger(__name__)
_only: ContextVar["tuple[SpdkClient, Instance] | None"] = ContextVar("only", default=None)


class SpdkClient:
    """One SPDK process behind `endpoint` (dpucsi.spdk.endpoint has the forms), called `name` in logs and errors.

    It connects at the first call or at `start()`. A call made while SPDK is away waits until it is back or the call's
    deadline passes; one that was in flight when the connection dropped fails, because its outcome is unknown.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        name: str = "SPDK",
        tls: TlsFiles | None = None,
        window: int = WINDOW,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if not 1 <= window <= WINDOW_MAX:
            raise InvalidArgumentError(f"{name}: a window of {window} requests; wanted 1 to {WINDOW_MAX}")
        self.version: Version | None = None  # as of the last connection; None before the first one
        self.methods: frozenset[str] = frozenset()
        self._endpoint = Endpoint.parse(endpoint, tls)
        self._label = f"{name} at {self._endpoint}"
        self._window = window
        self._timeout_s = timeout_s
        self._ids = count(1)  # never used again, not on another connection either
        self._trace: Trace | None = None
        self._connection: Connection | None = None
        self._lineage = Lineage()
        self._reason = "not connected yet"
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    def __str__(self) -> str:
        return self._label

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begins to connect, and to connect again whenever the connection drops. Needs a running loop."""
        if self._keeper is None and not self._closed:
            # A context of its own: the volume_id and the deadline of whoever calls first are not the connection's.
            self._keeper = asyncio.create_task(self._keep_connected(), context=Context())

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Takes no more calls, waits at most `grace_s` seconds for the answers in flight, and disconnects."""
        self._closed = True
        self._reason = "this client was closed"
        self._announce()
        if self._connection is not None:
            await self._connection.drain(grace_s)
            self._connection.end(self._reason)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    @property
    def trace(self) -> Trace | None:
        """Records every call of callers from now on, while it is set."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._trace = trace
        if self._connection is not None:
            self._connection.trace = trace

    @property
    def instance(self) -> Instance | None:
        """The SPDK process that answers, or answered last; None before the first connection."""
        return self._lineage.instance

    async def call(self, method: str, params: Params | None = None, *, timeout: float | None = None) -> Json:  # noqa: ASYNC109 - waiting for SPDK to come back is part of it
        """The result of `method`, within `timeout` seconds and the deadline of the operation at hand (dpucsi.aio).

        Raises SpdkError where SPDK refuses, MethodNotFoundError, OutOfMemoryError, InvalidArgumentError for a request
        that cannot be sent, UnavailableError while SPDK is away, ConnectionLostError and TimedOutError with an unknown
        outcome. Cancelling it does not disturb any other call.
        """
        allowed = remaining(self._timeout_s if timeout is None else timeout)
        if allowed <= 0:
            raise TimedOutError(f"{self}: no time is left for {method}, so it was not sent")
        self.start()
        try:
            async with asyncio.timeout(allowed):
                return await self._call(method, params)
        except TimeoutError:
            raise self._late(method, allowed) from None

    async def _call(self, method: str, params: Params | None) -> Json:
        while True:
            connection = await self._connected()
            self._check_meant(method)
            try:
                return await connection.call(method, params)
            except NotSentError:
                continue

    @contextmanager
    def only(self, instance: Instance) -> Iterator[None]:
        """Calls made inside go to the process `instance` or fail, unsent, with UnavailableError.

        For who decided by the state of one process: in the next one, which has forgotten everything, the same call
        means something else.
        """
        token = _only.set((self, instance))
        try:
            yield
        finally:
            _only.reset(token)

    def _check_meant(self, method: str) -> None:
        meant = _only.get()
        if meant is not None and meant[0] is self and meant[1] != self.instance:
            raise UnavailableError(f"{self} was restarted before it was sent {method}; try again")

    async def new_instance(self, other_than: Instance | None = None) -> Instance:
        """Returns as soon as an SPDK process is connected that is not `other_than`.

        What it replays to a process is the caller's; the pattern is level-triggered, so that no restart is missed:

            reconciled = None
            while True:
                instance = await client.new_instance(other_than=reconciled)
                await replay(client)
                reconciled = instance
        """
        self.start()
        while True:
            await self._connected()
            if self.instance is not None and self.instance != other_than:
                return self.instance
            await self._changed.wait()

    async def _connected(self) -> Connection:
        while not self._closed:
            if self._connection is not None and not self._connection.reason:
                return self._connection
            await self._changed.wait()
        raise UnavailableError(f"{self}: {self._reason}")

    def _late(self, method: str, allowed: float) -> DpucsiError:
        if self._connection is None:
            return UnavailableError(
                f"{self} could not be reached within {allowed:.1f} s for {method}: {self._reason}; does SPDK run there?"
            )
        return TimedOutError(
            f"{self} did not answer {method} within {allowed:.1f} s; it may still be carried out, read the state"
        )

    # The connection's keeper:

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            await self._one_connection()
            # One that lived is followed at once; a peer that drops every connection is a failure like no peer.
            failures = 0 if loop.time() - started > BACKOFF_LONGEST_S + CONNECT_S else failures + 1
            await asyncio.sleep(backoff(failures))

    async def _one_connection(self) -> None:
        """Connects, and returns when that has failed or has ended."""
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await self._connect()
        except (OSError, ValueError, DpucsiError, NotSentError) as error:
            # TimeoutError and ssl.SSLError are OSErrors; a ValueError is an address that no socket takes.
            self._away(str(error) or type(error).__name__)
            return
        await connection.lost.wait()
        self._lineage.heard(connection.heard_at)
        self._away(connection.reason)

    async def _connect(self) -> Connection:
        """A connection that has answered; from then on it is open to callers."""
        connection = await self._endpoint.open(lambda: Connection(self._label, self._ids, self._window))
        try:
            # Three questions in one write: one look of SPDK.
            version, methods, sighting = await asyncio.gather(
                spdk_get_version(connection), rpc_get_methods(connection), _sight(connection)
            )
        except BaseException:
            connection.end("its first questions were not answered")
            raise
        self.version, self.methods = version, methods
        instance = self._lineage.see(sighting, asyncio.get_running_loop().time())
        connection.trace = self._trace
        self._connection = connection
        self._announce()
        log.info("SPDK connected", spdk=self._label, version=str(version), pid=instance.pid, instance=instance.number)
        return connection

    def _away(self, reason: str) -> None:
        if self._connection is not None:
            log.warning("SPDK disconnected", spdk=self._label, reason=reason)
        elif reason != self._reason:
            log.warning("SPDK not reached", spdk=self._label, reason=reason)
        self._connection, self._reason = None, reason
        self._announce()

    def _announce(self) -> None:
        """Wakes everybody who waits for another state."""
        self._changed.set()
        self._changed = asyncio.Event()


def backoff(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and spread so that clients do not meet."""
    longest: float = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
    return longest * (1 + jitter()) / 2


async def _sight(connection: Connection) -> Sighting:
    """Who answers. An SPDK that waits for framework_start_init does not say, and counts as a new one each time."""
    try:
        return await framework_get_reactors(connection)
    except SpdkError:
        return Sighting(pid=0, age_s=None)
