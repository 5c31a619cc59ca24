"""Whether a volume is published to one node, as Kubernetes sees it: there is a VolumeAttachment, or there is none."""

import hashlib

from dpucsi.errors import NotFoundError
from dpucsi.k8s.api import KubeApi
from dpucsi.k8s.cluster import ATTACHMENTS


class Publications:
    """Of the volumes of `driver` to `node`."""

    def __init__(self, api: KubeApi, driver: str, node: str) -> None:
        self._api = api
        self._driver = driver
        self._node = node

    async def has(self, volume_id: str) -> bool:
        """As of now. False: it is not wanted here, and where it was, its ControllerUnpublishVolume was answered.

        Raises any other error of the API server.
        """
        try:
            await self._api.get(f"{ATTACHMENTS}/{attachment_name(volume_id, self._driver, self._node)}")
        except NotFoundError:
            return False
        return True


def attachment_name(volume_id: str, driver: str, node: str) -> str:
    """The name that Kubernetes gives a VolumeAttachment (pkg/volume/csi/csi_attacher.go, getAttachmentName)."""
    return f"csi-{hashlib.sha256(f'{volume_id}{driver}{node}'.encode()).hexdigest()}"
