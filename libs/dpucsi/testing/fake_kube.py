"""An API server in memory, over a real socket, with what real ones do to their clients.

It answers GET of one object, lists in pages, and watches. Objects are JSON by the path of their kind; versions count up
over all of them, as etcd's do. `faults` is asked before each answer, `on_answer` is told of each one.
"""

import asyncio
import copy
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from dpucsi.k8s import KubeApi
from dpucsi.testing.ports import free_port

Json = dict[str, Any]
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"
VOLUMES = "/api/v1/persistentvolumes"
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

KINDS = (ATTACHMENTS, CSI_NODES, VOLUMES, NODES, LEASES)


async def nothing(path: str) -> web.Response | None:
    """The fault that is none."""
    return None


class FakeKube:
    """`await start()`; `stop()` drops every connection as a killed server does, `start()` again has the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.objects: dict[str, dict[str, Json]] = defaultdict(dict)
        self.requests: list[str] = []  # path and query of each, as they came
        self.faults: Callable[[str], Awaitable[web.Response | None]] = nothing
        self.on_answer: Callable[[str], Awaitable[object]] = nothing
        self._version = 100
        self._events: list[tuple[int, str, str, Json]] = []  # version, path of the kind, what happened, object
        self._oldest = 0  # a watch from an earlier version is answered with 410
        self._news = asyncio.Condition()
        self._pages: dict[str, tuple[list[Json], int]] = {}
        self._runner: web.AppRunner | None = None
        self._transports: set[asyncio.BaseTransport] = set()

    async def start(self) -> None:
        """Listens on loopback."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()

    async def stop(self) -> None:
        """Ends in the middle of whatever it does."""
        for transport in list(self._transports):
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        self._transports.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def connect(self) -> KubeApi:
        """A client of it."""
        return KubeApi(ApiClient(Configuration(host=f"http://127.0.0.1:{self.port}")))

    def write_kubeconfig(self, path: Path) -> None:
        """For a process."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "fake", "user": {"token": "none"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config))

    async def put(self, kind: str, name: str, **parts: Any) -> Json:
        """Makes or replaces an object; `parts` are its top-level fields."""
        known = self.objects[kind].get(name)
        self._version += 1
        meta = {"uid": f"uid-{self._version}", **(known["metadata"] if known else {}), **parts.pop("metadata", {})}
        found = {**parts, "metadata": {**meta, "name": name, "resourceVersion": str(self._version)}}
        self.objects[kind][name] = found
        await self._tell(kind, "MODIFIED" if known else "ADDED", found)
        return found

    async def change(self, kind: str, name: str, **parts: Any) -> None:
        """Replaces some top-level fields; metadata is merged."""
        await self.put(kind, name, **{**copy.deepcopy(self.objects[kind][name]), **parts})

    async def delete(self, kind: str, name: str) -> None:
        """The object is gone."""
        self._version += 1
        found = self.objects[kind].pop(name)
        await self._tell(
            kind, "DELETED", {**found, "metadata": {**found["metadata"], "resourceVersion": str(self._version)}}
        )

    async def bookmark(self, kind: str) -> None:
        """Tells the watches how far they are, after changes of other kinds."""
        self._version += 1
        await self._tell(kind, "BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}})

    def compact(self) -> None:
        """Forgets history: who was away has to list again."""
        self._version += 1
        self._oldest = self._version
        self._events.clear()

    def count(self, path: str) -> int:
        """How many requests for `path` came."""
        return sum(request.partition("?")[0] == path for request in self.requests)

    async def _tell(self, kind: str, what: str, found: Json) -> None:
        async with self._news:
            self._events.append((self._version, kind, what, copy.deepcopy(found)))
            self._news.notify_all()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests.append(request.path_qs)
        if request.transport is not None:
            self._transports.add(request.transport)
        refused = await self.faults(request.path_qs)
        if refused is not None:
            return refused
        if "watch" in request.query:
            return await self._watch(request, path)
        answer = self._answer(path, request)
        await self.on_answer(request.path_qs)
        return answer

    def _answer(self, path: str, request: web.Request) -> web.Response:
        if path in KINDS:
            return self._list(path, request)
        kind, _, name = path.rpartition("/")
        found = self.objects[kind].get(name)
        return web.json_response(found) if found else status(404, f"{name} not found")

    def _list(self, kind: str, request: web.Request) -> web.Response:
        token = request.query.get("continue", "")
        if token:
            if token not in self._pages:
                return status(410, "the continue token is too old")
            items, version = self._pages.pop(token)
        else:
            items, version = self._selected(kind, request), self._version
        limit = int(request.query.get("limit", "0")) or len(items)
        page, rest = items[:limit], items[limit:]
        more = f"token-{kind}-{version}-{len(rest)}" if rest else ""
        if rest:
            self._pages[more] = (rest, version)
        return web.json_response({"metadata": {"resourceVersion": str(version), "continue": more}, "items": page})

    def _selected(self, kind: str, request: web.Request) -> list[Json]:
        wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        return [found for name, found in self.objects[kind].items() if not wanted or name == wanted]

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        at = int(request.query["resourceVersion"])
        if at < self._oldest:
            gone = {"type": "ERROR", "object": {"code": 410, "message": f"too old resource version: {at}"}}
            await response.write(json.dumps(gone).encode() + b"\n")
            return response
        wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        while True:
            for version, of, what, found in list(self._events):
                if version > at and of == kind and wanted in ("", found["metadata"].get("name")):
                    await response.write(json.dumps({"type": what, "object": found}).encode() + b"\n")
            at = self._version
            async with self._news:
                if self._version == at:
                    await self._news.wait()


def status(code: int, message: str, **headers: str) -> web.Response:
    """An answer that is an error, as the API server writes it; `Retry_After="2"` is a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code, headers=named)


def attachment(volume: str, node: str, metadata: dict[str, str], driver: str = "csi.dpucsi.io") -> Json:
    """The parts of an attached VolumeAttachment."""
    return {
        "spec": {"attacher": driver, "nodeName": node, "source": {"persistentVolumeName": volume}},
        "status": {"attached": True, "attachmentMetadata": metadata},
    }


def volume(volume_id: str, modes: tuple[str, ...] = ("ReadWriteOnce",), driver: str = "csi.dpucsi.io") -> Json:
    """The parts of a PersistentVolume."""
    return {"spec": {"csi": {"driver": driver, "volumeHandle": volume_id}, "accessModes": list(modes)}}
