"""Attachments that this Host holds no more and that nobody will unstage: found at the DPU, and given back to it.

A Host that died and booted again has nothing mounted of what its DPU still carries. Most of it kubelet stages again, or
unstages as it finds its own traces. What it has no trace of (its folder is lost, say) would keep its slot, and its
session to the storage, for ever. That it is of an earlier boot proves that nothing here uses it; no volume is touched.
"""

import asyncio

import structlog

from csi_node_host.dpu import Attachment
from csi_node_host.site import Site
from csi_node_host.unstage import check_unused, derived, finish_unstage, give_back
from dpucsi.aio import Operations
from dpucsi.errors import DpucsiError
from dpucsi.naming import VolumeId

UNKNOWN_BACKEND = "unknown"  # the DPU knows volumes by their uuids alone

log = structlog.get_logger(__name__)


class Forgotten:
    """Looks every `period_s`; the first time one period after the start, when kubelet has staged what it wants."""

    def __init__(self, site: Site, operations: Operations, period_s: float) -> None:
        self._site = site
        self._operations = operations
        self._period_s = period_s

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            await self.once()

    async def once(self) -> None:
        """One look, and what follows from it; what fails is logged, and found again by the next one."""
        try:
            found = await self._site.dpu.attachments()
        except DpucsiError as error:
            log.debug("the DPU cannot be asked for forgotten attachments", error=str(error))
            return
        for attachment in found:
            if self._is_forgotten(attachment):
                await self._give_back(self._volume_id(attachment))

    def _is_forgotten(self, attachment: Attachment) -> bool:
        if attachment.being_taken:  # in this boot an unstage that was cut has a record, and is resumed by its caller
            return self._site.volumes.of_uuid(attachment.uuid) is None
        return attachment.boot_id != self._site.dpu.boot_id

    def _volume_id(self, attachment: Attachment) -> VolumeId:
        volume = self._site.volumes.of_uuid(attachment.uuid)
        return volume.volume_id if volume else VolumeId(UNKNOWN_BACKEND, attachment.uuid)

    async def _give_back(self, volume_id: VolumeId) -> None:
        async def unless_wanted() -> None:
            """Under the volume's lock, so what is seen here stays so."""
            attachment = await self._site.dpu.attachment(volume_id)
            if attachment is None or not self._is_forgotten(attachment):
                return
            log.warning("giving back an attachment that nobody here uses", uuid=str(volume_id.uuid))
            volume = self._site.volumes.get(volume_id)
            if volume is not None:
                await finish_unstage(self._site, volume)
                return
            check_unused(self._site, volume_id)
            await give_back(self._site, derived(volume_id, attachment))

        try:
            await self._operations.run(lock_of(volume_id), "giving back", unless_wanted)
        except DpucsiError as error:
            log.warning("not given back, will be tried again", uuid=str(volume_id.uuid), error=str(error))


def lock_of(volume_id: VolumeId) -> str:
    """The key under which operations exclude each other: the identity, which no two storage backends share."""
    return f"volume {volume_id.uuid}"
