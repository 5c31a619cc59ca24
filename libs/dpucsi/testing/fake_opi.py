"""A small OPI server that keeps its objects in memory: the far side of the volume-attacher, for tests.

It behaves as the OPI interface files say and can be told to misbehave: to hold the n-th call until a test has looked
(or killed somebody), to refuse a path, to show the wrong volume, to forget everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2, backend_nvme_pb2_grpc, frontend_nvme_pb2, frontend_nvme_pb2_grpc
from dpucsi.errors import AlreadyExistsError, DpucsiError, NotFoundError
from dpucsi.naming import uuid_of_subnqn
from dpucsi.rpc.server import Service, build


@dataclass(frozen=True)
class Kind:
    """How the calls of one kind of resource are named."""

    resource: str  # NvmePath
    collection: str  # nvmePaths
    field: str  # nvme_path
    messages: Any


REMOTE = (
    Kind("NvmeRemoteController", "nvmeRemoteControllers", "nvme_remote_controller", backend_nvme_pb2),
    Kind("NvmePath", "nvmePaths", "nvme_path", backend_nvme_pb2),
)
FRONTEND = (
    Kind("NvmeSubsystem", "nvmeSubsystems", "nvme_subsystem", frontend_nvme_pb2),
    Kind("NvmeController", "nvmeControllers", "nvme_controller", frontend_nvme_pb2),
    Kind("NvmeNamespace", "nvmeNamespaces", "nvme_namespace", frontend_nvme_pb2),
)


@dataclass
class Hold:
    """Stops one call, before or after it had its effect, until `go`."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    after: bool = False

    async def pause(self) -> None:
        """Where the held call waits."""
        self.reached.set()
        await self.go.wait()


class FakeOpi:
    """The objects by OPI name, and the switches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects: dict[str, Any] = {}
        self.calls: list[str] = []  # names of the calls, in order
        self.holds: dict[int, Hold] = {}  # by number of the call, from 1
        self.refused: dict[str, DpucsiError] = {}  # by traddr of a path, or id of any object
        self.shown: dict[str, UUID] = {}  # by subnqn, where it is not the volume that the NQN names
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Serves on `path`."""
        remote = _servicer(backend_nvme_pb2_grpc.NvmeRemoteControllerServiceServicer, self, REMOTE)
        remote.ListNvmeRemoteNamespaces = self.counted("ListNvmeRemoteNamespaces", self._list_remote_namespaces)
        frontend = _servicer(frontend_nvme_pb2_grpc.FrontendNvmeServiceServicer, self, FRONTEND)
        self._server = build(
            [
                Service(
                    "opi_api.storage.v1.NvmeRemoteControllerService",
                    backend_nvme_pb2_grpc.add_NvmeRemoteControllerServiceServicer_to_server,
                    remote,
                ),
                Service(
                    "opi_api.storage.v1.FrontendNvmeService",
                    frontend_nvme_pb2_grpc.add_FrontendNvmeServiceServicer_to_server,
                    frontend,
                ),
            ]
        )
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def stop(self) -> None:
        """Gone, with its connections; the objects stay for the next `start`."""
        if self._server is not None:
            await self._server.stop(0)

    def names(self, collection: str) -> list[str]:
        """The objects of one collection, wherever it hangs."""
        return sorted(name for name in self.objects if name.split("/")[-2] == collection)

    def hold(self, ahead: int, *, after: bool = False) -> Hold:
        """Holds the `ahead`-th call from now on."""
        held = self.holds[len(self.calls) + ahead] = Hold(after=after)
        return held

    def counted(self, name: str, behaviour: Callable[[Any], Any]) -> Callable[[Any, Any], Awaitable[Any]]:
        """A handler that counts its calls and can be held."""

        async def answer(request: Any, context: Any) -> Any:
            self.calls.append(name)
            held = self.holds.get(len(self.calls))
            if held and not held.after:
                await held.pause()
            try:
                return behaviour(request)
            finally:
                if held and held.after:
                    await held.pause()

        return answer

    def create(self, kind: Kind, request: Any) -> Message:
        """Create: made already with the same content is fine."""
        resource = getattr(request, kind.field)
        resource_id = getattr(request, f"{kind.field}_id")
        parent = getattr(request, "parent", "")
        for key in (resource_id, getattr(resource, "traddr", "")):
            if key in self.refused:
                raise self.refused[key]
        if parent and parent not in self.objects:
            raise NotFoundError(f"{parent} is not there")
        resource.name = f"{parent}/{kind.collection}/{resource_id}".lstrip("/")
        there = self.objects.setdefault(resource.name, resource)
        if there != resource:
            raise AlreadyExistsError(f"{resource.name} exists with other content")
        return there  # type: ignore[no-any-return]

    def get(self, request: Any) -> Message:
        """Get."""
        if request.name not in self.objects:
            raise NotFoundError(f"{request.name} is not there")
        return self.objects[request.name]  # type: ignore[no-any-return]

    def listed(self, kind: Kind, request: Any) -> Message:
        """List, one object a page, so that nobody forgets the pages."""
        parent = getattr(request, "parent", "")
        if parent and parent not in self.objects:
            raise NotFoundError(f"{parent} is not there")
        prefix = f"{parent}/{kind.collection}/".lstrip("/")
        names = sorted(name for name in self.objects if name.startswith(prefix) and "/" not in name[len(prefix) :])
        page = [name for name in names if name > request.page_token][:1]
        more = page[0] if page and page[0] != names[-1] else ""
        answer = getattr(kind.messages, f"List{kind.resource}sResponse")
        found = {f"{kind.field}s": [self.objects[name] for name in page]}
        return answer(next_page_token=more, **found)  # type: ignore[no-any-return]

    def delete(self, request: Any) -> Empty:
        """Delete, with what hangs below."""
        if request.name not in self.objects and not request.allow_missing:
            raise NotFoundError(f"{request.name} is not there")
        for name in [name for name in self.objects if f"{name}/".startswith(f"{request.name}/")]:
            del self.objects[name]
        return Empty()

    def _list_remote_namespaces(self, request: Any) -> Message:
        prefix = f"{request.parent}/nvmePaths/"
        subnqns = [path.fabrics.subnqn for name, path in self.objects.items() if name.startswith(prefix)]
        uuids = {self.shown.get(subnqn, uuid_of_subnqn(subnqn)) for subnqn in subnqns}
        namespaces = [
            backend_nvme_pb2.NvmeRemoteNamespace(
                name=f"{request.parent}/nvmeRemoteNamespaces/1", nsid=1, uuid=str(uuid)
            )
            for uuid in uuids
        ]
        return backend_nvme_pb2.ListNvmeRemoteNamespacesResponse(nvme_remote_namespaces=namespaces)


def _servicer(base: type, fake: FakeOpi, kinds: tuple[Kind, ...]) -> Any:
    servicer = base()
    for kind in kinds:
        verbs: dict[str, Callable[[Any], Any]] = {
            f"Create{kind.resource}": partial(fake.create, kind),
            f"Get{kind.resource}": fake.get,
            f"List{kind.resource}s": partial(fake.listed, kind),
            f"Delete{kind.resource}": fake.delete,
        }
        for name, behaviour in verbs.items():
            setattr(servicer, name, fake.counted(name, behaviour))
    return servicer
