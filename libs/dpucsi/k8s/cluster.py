"""What the cluster knows of our driver's volumes: who has which, under which publish_context."""

import asyncio
from uuid import UUID

from dpucsi.errors import NotFoundError
from dpucsi.k8s.api import KubeApi
from dpucsi.k8s.informer import Informer
from dpucsi.k8s.objects import (
    CsiNode,
    PersistentVolume,
    VolumeAttachment,
    attachment_of,
    csi_node_of,
    volume_of,
)

ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"
VOLUMES = "/api/v1/persistentvolumes"


class Cluster:
    """Informers on VolumeAttachments, PersistentVolumes and CSINodes of `driver`, by name."""

    def __init__(self, api: KubeApi, driver: str) -> None:
        self._api = api
        self._attachment = attachment_of(driver)
        self.attachments: Informer[VolumeAttachment] = Informer(api, ATTACHMENTS, self._attachment)
        self.volumes: Informer[PersistentVolume] = Informer(api, VOLUMES, volume_of(driver))
        self.nodes: Informer[CsiNode] = Informer(api, CSI_NODES, csi_node_of(driver))

    async def run(self) -> None:
        """Keeps all of it up to date, for ever."""
        async with asyncio.TaskGroup() as group:
            for informer in (self.attachments, self.volumes, self.nodes):
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Returns when all of it is known."""
        for informer in (self.attachments, self.volumes, self.nodes):
            await informer.synced.wait()

    def node_of(self, dpu: UUID) -> str:
        """The name of the node whose DPU this is, for messages; "" where none is known."""
        return next((node.name for node in self.nodes.items.values() if node.node_id.endswith(f"/{dpu}")), "")

    async def attachment_now(self, name: str) -> VolumeAttachment | None:
        """The VolumeAttachment as it is at this moment, not as it was last heard of; None: there is none of ours."""
        try:
            return self._attachment(await self._api.get(f"{ATTACHMENTS}/{name}"))
        except NotFoundError:
            return None
