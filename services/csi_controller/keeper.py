"""Decides which exports have to be looked at, and tries each one until it is settled.

Every export is looked at when this replica begins to lead, and when a storage node shows a new instance, which may have
forgotten all of them. Now and then, more often soon after a restart, the storage is asked what it exports, for what was
missed: a volume that was being published while its storage node died.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import structlog

from csi_controller.restore import Export, Restorer, recorded_export
from dpucsi import naming
from dpucsi.backends import StorageBackend
from dpucsi.errors import BusyError, DpucsiError, InvalidArgumentError

if TYPE_CHECKING:
    from dpucsi.k8s import Cluster, Leadership, VolumeAttachment

LOOK_FIRST_S, LOOK_LONGEST_S = 5.0, 300.0
AGAIN_FIRST_S, AGAIN_LONGEST_S = 0.25, 30.0
AT_ONCE = 64  # each has some 10 requests to the API server and to SPDK to wait for, one after the other

log = structlog.get_logger(__name__)


class Keeper:
    """Keeps the exports of `backends` as the cluster wants them, through `restorer`."""

    def __init__(
        self,
        cluster: "Cluster",
        leadership: "Leadership",
        backends: Mapping[str, StorageBackend],
        restorer: Restorer,
    ) -> None:
        self._cluster = cluster
        self._leadership = leadership
        self._backends = backends
        self._restorer = restorer
        self._open: dict[str, Export] = {}  # by VolumeAttachment, those that are not settled
        self._again: set[str] = set()  # of these, what has to be looked at once more after this time
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """For ever."""
        await self._cluster.synced()
        async with asyncio.TaskGroup() as self._group:
            left_over = list(self._open.values())
            self._open.clear()
            for export in left_over:
                self._settle(export)
            self._group.create_task(self._lead())
            for name, backend in self._backends.items():
                self._group.create_task(self._follow(name, backend))

    async def _lead(self) -> None:
        term = 0
        while True:
            term = await self._leadership.new_term(term)
            for name in self._backends:
                self._settle_all(name)

    async def _follow(self, name: str, backend: StorageBackend) -> None:
        instance = await backend.new_instance()
        pause = LOOK_FIRST_S
        while True:
            try:
                async with asyncio.timeout(pause):
                    instance = await backend.new_instance(instance)
            except TimeoutError:
                pause = min(pause * 2, LOOK_LONGEST_S)
                await self._look(name, backend)
            else:
                log.info("a storage node is new: it may have forgotten its exports", storage_backend=name)
                pause = LOOK_FIRST_S
                self._settle_all(name)

    async def _look(self, name: str, backend: StorageBackend) -> None:
        """Settles what the storage does not export as it should."""
        try:
            if not await self._leadership.validity():
                return
            hosts = {volume.uuid: volume.hosts for volume in await backend.list_volumes()}
        except DpucsiError as error:
            log.info("a storage node could not be asked for its exports", storage_backend=name, error=str(error))
            return
        for attachment, export in self._wanted(name):
            try:
                recorded = recorded_export(attachment, export.volume_id)
            except DpucsiError as wrong:
                log.warning("a VolumeAttachment cannot be used", volume_attachment=attachment.name, error=str(wrong))
                continue
            if recorded is not None and recorded.hostnqn not in hosts.get(recorded.uuid, ()):
                self._settle(export)

    def _settle_all(self, backend: str) -> None:
        wanted = [export for _, export in self._wanted(backend)]
        if wanted:
            log.info("exports are looked at", storage_backend=backend, count=len(wanted))
        for export in wanted:
            self._settle(export)

    def _wanted(self, backend: str) -> "Iterator[tuple[VolumeAttachment, Export]]":
        """As far as the caches know, which decides what is looked at and nothing else."""
        for attachment in self._cluster.attachments.items.values():
            volume = self._cluster.volumes.items.get(attachment.volume)
            if volume is None or not attachment.stands:
                continue
            try:
                volume_id = naming.VolumeId.parse(volume.volume_id)
            except InvalidArgumentError:
                continue  # the orphan report names it
            if volume_id.backend == backend:
                yield attachment, Export(attachment.name, volume_id, volume.shared)

    def _settle(self, export: Export) -> None:
        if export.attachment in self._open:
            self._again.add(export.attachment)
            return
        self._open[export.attachment] = export
        self._group.create_task(self._until_settled(export))

    async def _until_settled(self, export: Export) -> None:
        failures, trouble = 0, ""
        while True:
            self._again.discard(export.attachment)
            try:
                async with self._slots:
                    await self._restorer.restore(export)
                failures = 0
            except DpucsiError as error:
                failures += 1
                if str(error) != trouble and not isinstance(error, BusyError):
                    trouble = str(error)
                    log.warning(
                        "an export could not be brought back; trying again",
                        volume_id=str(export.volume_id),
                        volume_attachment=export.attachment,
                        error=trouble,
                    )
            if not (failures and self._is_open(export)) and export.attachment not in self._again:
                del self._open[export.attachment]
                return
            await asyncio.sleep(again_after(failures))

    def _is_open(self, export: Export) -> bool:
        """Whether something is left to do for an export that could not be settled."""
        attachment = self._cluster.attachments.items.get(export.attachment)
        return bool(export.unconfirmed) or (attachment is not None and attachment.stands)


def again_after(failures: int) -> float:
    """Seconds until the next try after so many failures in a row, spread."""
    longest: float = min(AGAIN_LONGEST_S, AGAIN_FIRST_S * 2 ** min(failures, 10))
    return longest * (1 + random.random()) / 2 if failures else 0.0  # noqa: S311 - not a secret
