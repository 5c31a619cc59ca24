"""NvmeRemoteNamespace: what a remote controller has brought, seen in SPDK; nobody creates or deletes it here.

Its resource id is its uuid. A request may also say the nsid, which finds whatever the target shows there now.
"""

import re

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as pb
from dpucsi.errors import NotFoundError
from dpucsi.spdk import SpdkClient
from dpucsi.spdk.bdev import Bdev, bdev_get_bdevs, find_bdev
from opi_bridge import fields
from opi_bridge.names import NamePattern, id_of, parent_of
from opi_bridge.objects import Objects
from opi_bridge.pages import page_of

PATTERN = NamePattern.of(pb.NvmeRemoteNamespace)


class RemoteNamespaces:
    """Get and List."""

    def __init__(self, client: SpdkClient, objects: Objects) -> None:
        self._client = client
        self._objects = objects

    async def get(self, request: pb.GetNvmeRemoteNamespaceRequest) -> pb.NvmeRemoteNamespace:
        """By uuid or by nsid; one round. Raises NotFoundError."""
        fields.check(request, "")
        name = PATTERN.check(request.name)
        parent, wanted = parent_of(name), id_of(name)
        self._objects.get(parent)
        bdev = await find_bdev(self._client, f"{id_of(parent)}n{wanted}" if wanted.isdecimal() else wanted)
        shown = _shown(parent, bdev) if bdev else None
        if shown is None:
            raise NotFoundError(
                f"{parent} has no namespace {wanted} now; is a path connected, and is it exported there?"
            )
        return shown

    async def list(self, request: pb.ListNvmeRemoteNamespacesRequest) -> pb.ListNvmeRemoteNamespacesResponse:
        """Those of one remote controller, in the order of their uuids."""
        fields.check(request, "")
        parent = PATTERN.check_parent(request.parent)
        self._objects.get(parent)
        found = [_shown(parent, bdev) for bdev in await bdev_get_bdevs(self._client)]
        by_name = {namespace.name: namespace for namespace in found if namespace is not None}
        query = f"{PATTERN.message} {parent}"
        page, token = page_of(by_name, query=query, size=request.page_size, token=request.page_token)
        return pb.ListNvmeRemoteNamespacesResponse(
            nvme_remote_namespaces=[by_name[name] for name in page], next_page_token=token
        )


def _shown(parent: str, bdev: Bdev) -> pb.NvmeRemoteNamespace | None:
    """None for a bdev of somebody else. SPDK does not tell the nguid and the eui64, so they stay empty."""
    found = re.fullmatch(rf"{re.escape(id_of(parent))}n(\d+)", bdev.name)
    if not found:
        return None
    name = f"{parent}/{PATTERN.collections[-1]}/{bdev.uuid}"
    return pb.NvmeRemoteNamespace(name=name, nsid=int(found[1]), uuid=bdev.uuid)
