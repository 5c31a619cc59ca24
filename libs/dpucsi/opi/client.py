"""The connection to an OPI server, and what every kind of resource shares."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from google.protobuf.message import Message

from dpucsi.aio import wait_until
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2_grpc, frontend_nvme_pb2_grpc
from dpucsi.errors import AlreadyExistsError, BusyError, NotFoundError
from dpucsi.opi.compare import refuse_difference
from dpucsi.rpc import Endpoint, call, channel
from dpucsi.rpc.tls import TlsFiles

FAR_SIDE = "OPI server"
CALL_S = 30.0  # the longest healthy call connects to a storage node, with authentication
PAGE_SIZE = 500


ResponseT = TypeVar("ResponseT")
ResourceT = TypeVar("ResourceT", bound=Message)


class OpiClient:
    """One lasting channel. OPI names are the server's to form; those it told are remembered by collection and id."""

    def __init__(self, endpoint: Endpoint, tls: TlsFiles | None = None) -> None:
        self.channel = channel(endpoint, tls)
        self.remote = backend_nvme_pb2_grpc.NvmeRemoteControllerServiceStub(self.channel)
        self.frontend = frontend_nvme_pb2_grpc.FrontendNvmeServiceStub(self.channel)
        self._names: dict[str, str] = {}

    async def close(self) -> None:
        """Ends the connection."""
        await self.channel.close(None)

    async def call(self, method: Callable[..., Awaitable[ResponseT]], request: Message) -> ResponseT:
        """One call. Waits while the server says ABORTED: a call that an earlier process of ours left may still run."""

        async def unless_busy() -> ResponseT | None:
            try:
                return await call(FAR_SIDE, method, request, timeout_s=CALL_S)
            except BusyError:
                return None

        what = f"{type(request).__name__} at the {FAR_SIDE}, which is busy with the same object"
        return await wait_until(unless_busy, what, timeout_s=CALL_S, first_s=0.02)

    async def ensure(
        self,
        collection: str,
        resource_id: str,
        wanted: ResourceT,
        *,
        create: Callable[[], Awaitable[ResourceT]],
        get: Callable[[str], Awaitable[ResourceT]],
        listed: Callable[[], Awaitable[Iterable[Any]]],
    ) -> str:
        """Makes `collection/resource_id` or finds it; its OPI name.

        The answer is compared in either case: there are servers that answer OK to a repeated create without a look.
        Raises FailedPreconditionError that names the difference.
        """
        try:
            found = await create()
        except AlreadyExistsError:
            found = await get(await self.name_of(collection, resource_id, listed))
        refuse_difference(f"{collection}/{resource_id} at the {FAR_SIDE}", wanted, found)
        name: str = found.name  # type: ignore[attr-defined]  # every OPI resource has one
        self._names[f"{collection}/{resource_id}"] = name
        return name

    async def name_of(self, collection: str, resource_id: str, listed: Callable[[], Awaitable[Iterable[Any]]]) -> str:
        """The OPI name by which the server knows `collection/resource_id`; where it does not, the name OPI implies."""
        key = f"{collection}/{resource_id}"
        if key not in self._names:
            for resource in await listed():
                self._names[f"{collection}/{id_of(resource.name)}"] = resource.name
        return self._names.get(key, key)

    async def remove(
        self,
        collection: str,
        resource_id: str,
        *,
        delete: Callable[[str], Awaitable[object]],
        listed: Callable[[], Awaitable[Iterable[Any]]],
    ) -> None:
        """Removes `collection/resource_id`; an absent one, or one whose parent is absent, is fine."""
        with suppress(NotFoundError):
            await delete(await self.name_of(collection, resource_id, listed))
        self._names.pop(f"{collection}/{resource_id}", None)

    async def pages(self, method: Callable[..., Awaitable[Any]], request: Any, field: str) -> list[Any]:
        """Every resource of a list call, all pages."""
        found: list[Any] = []
        request.page_size = PAGE_SIZE
        while True:
            answer = await self.call(method, request)
            found += getattr(answer, field)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token


def id_of(name: str) -> str:
    """The last segment of an OPI name."""
    return name.rpartition("/")[2]
