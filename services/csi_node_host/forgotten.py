"""What nobody will unstage on this Host: found, and given back to the DPU.

A Host that died and booted again has nothing mounted of what its DPU still carries. Most of it kubelet stages again, or
unstages as it finds its own traces. What it has no trace of (its folder is lost, say) would keep its slot, and its
session to the storage, for ever. That it is of an earlier boot proves that nothing here uses it; no volume is touched.

A kubelet that is killed between unpublish and unstage has forgotten the volume when it comes back: it knows staged
volumes by the pods that have them. The volume is then taken from this Host without having been unstaged. Where
Kubernetes can be asked, a record whose VolumeAttachment is gone at two looks, and that no pod has mounted, is unstaged
here: the storage cut this Host off before the VolumeAttachment went, so nothing is lost that could still be written.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from csi_node_host.dpu import Attachment
from csi_node_host.site import Site
from csi_node_host.unstage import check_unused, derived, finish_unstage, give_back
from dpucsi.aio import Operations
from dpucsi.errors import DpucsiError
from dpucsi.naming import VolumeId

UNKNOWN_BACKEND = "unknown"  # the DPU knows volumes by their uuids alone

IsPublished = Callable[[VolumeId], Awaitable[bool]]  # raises any DpucsiError

log = structlog.get_logger(__name__)


class Forgotten:
    """Looks every `period_s`; the first time one period after the start, when kubelet has staged what it wants."""

    def __init__(
        self, site: Site, operations: Operations, period_s: float, is_published: IsPublished | None = None
    ) -> None:
        self._site = site
        self._operations = operations
        self._period_s = period_s
        self._is_published = is_published
        self._taken: set[VolumeId] = set()  # of which the last look said that they are not published here

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            await self.once()

    async def once(self) -> None:
        """One look, and what follows from it; what fails is logged, and found again by the next one."""
        await self._earlier_boots()
        if self._is_published is not None:
            await self._unpublished(self._is_published)

    async def _earlier_boots(self) -> None:
        try:
            found = await self._site.dpu.attachments()
        except DpucsiError as error:
            log.debug("the DPU cannot be asked for forgotten attachments", error=str(error))
            return
        for attachment in found:
            if self._is_forgotten(attachment):
                await self._give_back(self._volume_id(attachment))

    async def _unpublished(self, is_published: IsPublished) -> None:
        before, self._taken = self._taken, set()
        try:
            for volume in self._site.volumes.all():
                if not await is_published(volume.volume_id):
                    self._taken.add(volume.volume_id)
        except DpucsiError as error:
            log.debug("Kubernetes cannot be asked for unpublished volumes", error=str(error))
            return
        for volume_id in sorted(before & self._taken, key=str):
            await self._unstage(volume_id, is_published)

    async def _unstage(self, volume_id: VolumeId, is_published: IsPublished) -> None:
        async def unless_published() -> None:
            """Under the volume's lock: whoever stages it meanwhile has published it before."""
            volume = self._site.volumes.get(volume_id)
            if volume is None or await is_published(volume_id):
                return
            log.warning("unstaging a volume that is not published to this Host any more", volume_id=str(volume_id))
            await finish_unstage(self._site, volume)

        await self._try(volume_id, unless_published)

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

        await self._try(volume_id, unless_wanted)

    async def _try(self, volume_id: VolumeId, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._operations.run(lock_of(volume_id), "giving back", act)
        except DpucsiError as error:
            log.warning("not given back, will be tried again", uuid=str(volume_id.uuid), error=str(error))


def lock_of(volume_id: VolumeId) -> str:
    """The key under which operations exclude each other: the identity, which no two storage backends share."""
    return f"volume {volume_id.uuid}"
