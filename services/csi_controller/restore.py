"""Brings back the exports that a storage node has forgotten, as the cluster's VolumeAttachments remember them.

A VolumeAttachment holds the publish_context with the host NQN and its generation, so DPUs connect again as if nothing
had happened. What must never happen is that a host NQN comes back after its fence. Three things see to it:

- only the replica beside the external-attacher that leads restores anything, and only as long as nobody else can lead:
  ControllerUnpublishVolume can come to this very process alone;
- under the volume's lock, which ControllerUnpublishVolume needs too, the VolumeAttachment is read from the API server
  itself. It gets its deletionTimestamp before the attacher calls ControllerUnpublishVolume, so where none is seen the
  fence has not begun, and cannot begin before the lock is given back;
- afterwards it is read again: what was granted for one that is gone meanwhile (deleted by force, or detached by another
  replica after this one stood still for longer than its Lease) is revoked.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import eq
from typing import TYPE_CHECKING

import structlog

from dpucsi import naming
from dpucsi.aio import Operations, limit
from dpucsi.backends import StorageBackend, Volume
from dpucsi.csi import publish_context
from dpucsi.errors import DpucsiError, FailedPreconditionError, TimedOutError, UnavailableError
from dpucsi.model import AttachSpec

if TYPE_CHECKING:
    from dpucsi.k8s import Cluster, Leadership, VolumeAttachment

log = structlog.get_logger(__name__)


@dataclass
class Export:
    """One VolumeAttachment's volume. `unconfirmed`: host NQNs that we may have granted, and not yet justified."""

    attachment: str
    volume_id: naming.VolumeId
    shared: bool
    unconfirmed: set[str] = field(default_factory=set)

    def choose(self, spec: AttachSpec, volume: Volume) -> str:
        """The recorded host NQN. Raises where it must not be allowed again beside what the storage shows."""
        if spec.hostnqn in volume.hosts:
            return spec.hostnqn
        if spec.hostnqn in volume.leaving:
            raise UnavailableError(f"volume {self.volume_id}: {spec.hostnqn} is being cut off; not restored")
        dpu = naming.dpu_of_hostnqn(spec.hostnqn)
        others = [nqn for nqn in volume.hosts if not self.shared or naming.dpu_of_hostnqn(nqn) == dpu]
        if others:
            raise FailedPreconditionError(
                f"volume {self.volume_id}: VolumeAttachment {self.attachment} records the host NQN {spec.hostnqn}, but "
                f"the storage lets {', '.join(others)} in meanwhile; not restored: detach the volume from one of them"
            )
        self.unconfirmed.add(spec.hostnqn)
        return spec.hostnqn


class Restorer:
    """Restores one export, or takes back what it should not have. `operations` are those of the CSI calls."""

    def __init__(
        self,
        cluster: "Cluster",
        leadership: "Leadership",
        backends: Mapping[str, StorageBackend],
        operations: Operations,
    ) -> None:
        self._cluster = cluster
        self._leadership = leadership
        self._backends = backends
        self._operations = operations

    async def restore(self, export: Export) -> None:
        """Returns when the storage and the VolumeAttachment agree about `export`. Raises any DpucsiError until then."""
        backend = self._backends[export.volume_id.backend]
        await self._operations.run(
            str(export.volume_id), "bringing back its export", lambda: self._restore(export, backend)
        )

    async def _restore(self, export: Export, backend: StorageBackend) -> None:
        try:
            async with _at_most(await self._leadership.validity(), export) as seconds:
                recorded = await self._recorded(export) if seconds else None
                if recorded is not None:
                    await backend.grant(export.volume_id.uuid, lambda volume: export.choose(recorded, volume))
        except BaseException:
            await self._take_back(export, backend)  # what stands stays unconfirmed, as nobody knows what was granted
            raise
        await self._take_back(export, backend)
        for hostnqn in export.unconfirmed:
            log.info(
                "an export is back",
                volume_id=str(export.volume_id),
                volume_attachment=export.attachment,
                hostnqn=hostnqn,
            )
        export.unconfirmed.clear()

    async def _take_back(self, export: Export, backend: StorageBackend) -> None:
        """Revokes what may have been granted, and is not what the VolumeAttachment says now."""
        if not export.unconfirmed:
            return
        recorded = await self._recorded(export)
        for hostnqn in export.unconfirmed - {recorded.hostnqn if recorded else ""}:
            await backend.revoke(export.volume_id.uuid, partial(eq, hostnqn))
            export.unconfirmed.discard(hostnqn)
            log.warning(
                "an export is revoked again: its VolumeAttachment went away while it was brought back",
                volume_id=str(export.volume_id),
                volume_attachment=export.attachment,
                hostnqn=hostnqn,
            )

    async def _recorded(self, export: Export) -> AttachSpec | None:
        """What the VolumeAttachment says at this moment; None: nothing that is to be restored."""
        return recorded_export(await self._cluster.attachment_now(export.attachment), export.volume_id)


def recorded_export(attachment: "VolumeAttachment | None", volume_id: naming.VolumeId) -> AttachSpec | None:
    """The export that `attachment` stands for. Raises FailedPreconditionError for one that is not of this volume."""
    if attachment is None or not attachment.stands:
        return None
    try:
        spec = publish_context.decode(attachment.metadata)
    except DpucsiError as malformed:
        raise FailedPreconditionError(
            f"VolumeAttachment {attachment.name} of volume {volume_id} has attachmentMetadata that "
            f"ControllerPublishVolume did not return: {malformed}"
        ) from malformed
    if spec.uuid != volume_id.uuid:
        raise FailedPreconditionError(
            f"VolumeAttachment {attachment.name} of volume {volume_id} records an export of volume {spec.uuid}"
        )
    return spec


@asynccontextmanager
async def _at_most(seconds: float, export: Export) -> AsyncIterator[float]:
    """What is inside is over when somebody else may lead; 0 seconds: somebody else does, and nothing may be done."""
    try:
        with limit(seconds):
            async with asyncio.timeout(seconds or None):
                yield seconds
    except TimeoutError as late:
        raise TimedOutError(
            f"the export of volume {export.volume_id} was not back in the {seconds:.1f} s for which this one leads"
        ) from late
