"""Reports what Kubernetes and the storage do not agree about. Nothing is ever deleted: that is for people to decide."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from dpucsi import naming
from dpucsi.backends import StorageBackend, Volume
from dpucsi.errors import DpucsiError, InvalidArgumentError

if TYPE_CHECKING:
    from dpucsi.k8s import Cluster, Leadership, PersistentVolume, VolumeAttachment

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Orphan:
    """One disagreement: `what` is found, about which object, and what to `do` about it."""

    what: str
    name: str
    do: str


def find_orphans(
    stored: Mapping[str, Iterable[Volume]],
    volumes: "Iterable[PersistentVolume]",
    attachments: "Iterable[VolumeAttachment]",
    node_of: Callable[[UUID], str],
) -> set[Orphan]:
    """`stored`: what each storage backend that could be asked has; nothing is said about the others."""
    volumes = list(volumes)
    here = {f"{backend}/{volume.uuid}": volume for backend, found in stored.items() for volume in found}
    standing = {attachment.metadata.get("hostnqn", "") for attachment in attachments}
    orphans = {_without_pv(volume_id) for volume_id in here.keys() - {volume.volume_id for volume in volumes}}
    orphans |= {_without_storage(volume) for volume in volumes if _is_missing(volume, stored, here)}
    for volume_id, volume in here.items():
        for hostnqn in volume.hosts:
            if hostnqn not in standing:
                dpu = naming.dpu_of_hostnqn(hostnqn)
                orphans.add(_without_attachment(volume_id, hostnqn, node_of(dpu) if dpu else ""))
    return orphans


def _is_missing(volume: "PersistentVolume", stored: Mapping[str, object], here: Mapping[str, object]) -> bool:
    try:
        asked = naming.VolumeId.parse(volume.volume_id).backend in stored
    except InvalidArgumentError:
        asked = True  # no storage has it
    return asked and volume.volume_id not in here


def _without_pv(volume_id: str) -> Orphan:
    return Orphan(
        "a volume that no PersistentVolume names",
        volume_id,
        "if its data is not needed, delete it on its storage; else make a PersistentVolume with this volumeHandle",
    )


def _without_storage(volume: "PersistentVolume") -> Orphan:
    return Orphan(
        "a PersistentVolume whose volume does not exist",
        f"{volume.name} ({volume.volume_id})",
        "find out who deleted the volume; its claim has lost its data, delete claim and PersistentVolume",
    )


def _without_attachment(volume_id: str, hostnqn: str, node: str) -> Orphan:
    return Orphan(
        "a host that may connect, for which no VolumeAttachment stands",
        f"{volume_id}: {hostnqn}" + (f" of Node {node}" if node else ""),
        "make sure that no pod uses the volume there, then nvmf_subsystem_remove_host on the storage node",
    )


class OrphanReport:
    """Logs, every `period_s` seconds, what was found now and a period ago: work in progress is done by then."""

    def __init__(
        self, cluster: "Cluster", leadership: "Leadership", backends: Mapping[str, StorageBackend], period_s: float
    ) -> None:
        self._cluster = cluster
        self._leadership = leadership
        self._backends = backends
        self._period_s = period_s
        self._before: set[Orphan] = set()

    async def run(self) -> None:
        """For ever. One replica reports, the leading one."""
        await self._cluster.synced()
        while True:
            await self.look()
            await asyncio.sleep(self._period_s)

    async def look(self) -> None:
        """Logs what the look before this one found too."""
        try:
            found = await self._look() if await self._leadership.validity() else set()
        except DpucsiError as error:
            log.info("no orphan report this time", error=str(error))
            return
        for orphan in sorted(found & self._before, key=lambda one: (one.what, one.name)):
            log.warning("orphan", found=orphan.what, object=orphan.name, to_do=orphan.do)
        self._before = found

    async def _look(self) -> set[Orphan]:
        stored = {}
        for name, backend in self._backends.items():
            try:
                stored[name] = await backend.list_volumes()
            except DpucsiError as error:
                log.info("a storage backend is left out of the orphan report", storage_backend=name, error=str(error))
        cluster = self._cluster
        return find_orphans(
            stored,
            cluster.volumes.items.values(),
            cluster.attachments.items.values(),
            cluster.node_of,
        )
