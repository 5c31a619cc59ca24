"""What this Host has promised itself about its volumes: one record each, written before the effect that it tells of.

State:  attaching -> [formatting -> formatted ->] staged -> unstaging -> (no record)

`formatting` is durable before mkfs starts and `formatted` behind it, so a call that was cut knows whether mkfs may have
run. What sysfs and mountinfo can tell is asked there, and only kept here for the time after the device died.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any
from uuid import UUID

from dpucsi.csi.capabilities import Access
from dpucsi.model import HostDisk
from dpucsi.mount.decide import History
from dpucsi.naming import VolumeId
from dpucsi.store import Records

KIND = "volume"


class State(Enum):
    """Where a volume stands on this Host."""

    ATTACHING = "attaching"
    FORMATTING = "formatting"
    FORMATTED = "formatted"
    STAGED = "staged"
    UNSTAGING = "unstaging"


@dataclass(frozen=True)
class Volume:
    """One record. `disk` is the DPU's promise, None before it was made.

    `publication` is which ControllerPublishVolume it was staged for (csi_node_host.dpu), "" where nobody knows.
    `device` (name, major, minor) and `targets` (target path -> read-only) hold within one boot of the Host only.
    """

    volume_id: VolumeId
    staging_path: str
    access: Access
    placement: str
    content_source: bool
    state: State
    disk: HostDisk | None = None
    device: tuple[str, int, int] | None = None
    targets: dict[str, bool] = field(default_factory=dict)
    publication: str = ""

    @property
    def history(self) -> History:
        """What the never-format decision needs to know."""
        return {State.ATTACHING: History.NEW, State.FORMATTING: History.FORMATTING}.get(self.state, History.FORMATTED)


class Volumes:
    """All records, in memory and on the disk."""

    def __init__(self, records: Records, boot_id: str) -> None:
        self._records = records
        self._boot_id = boot_id
        loaded = (decode(text, boot_id) for text in records.load(KIND).values())
        self._volumes = {str(volume.volume_id): volume for volume in loaded}

    def get(self, volume_id: VolumeId) -> Volume | None:
        """The record of one volume."""
        return self._volumes.get(str(volume_id))

    def of_uuid(self, uuid: UUID) -> Volume | None:
        """The record of the volume with this identity, on whichever storage backend."""
        return next((volume for volume in self._volumes.values() if volume.volume_id.uuid == uuid), None)

    def all(self) -> list[Volume]:
        """Every record."""
        return list(self._volumes.values())

    def staged_at(self, staging_path: str) -> list[Volume]:
        """Every record that claims this path."""
        return [volume for volume in self._volumes.values() if volume.staging_path == staging_path]

    async def put(self, volume: Volume) -> Volume:
        """Durable when it returns. The memory follows the disk, so a cut caller sees what a restart would see."""
        await self._records.put(KIND, str(volume.volume_id), encode(volume, self._boot_id))
        self._volumes[str(volume.volume_id)] = volume
        return volume

    async def remove(self, volume_id: VolumeId) -> None:
        """Erased; the last step of an unstage."""
        await self._records.remove(KIND, str(volume_id))
        self._volumes.pop(str(volume_id), None)


def encode(volume: Volume, boot_id: str) -> bytes:
    """JSON, readable for an admin with sqlite3."""
    shown = asdict(volume) | {
        "volume_id": str(volume.volume_id),
        "state": volume.state.value,
        "boot_id": boot_id,
        "disk": None if volume.disk is None else asdict(volume.disk) | {"uuid": str(volume.disk.uuid)},
    }
    return json.dumps(shown, separators=(",", ":")).encode()


def decode(text: bytes, boot_id: str) -> Volume:
    """The opposite of `encode`. What held within another boot of the Host is dropped."""
    shown: dict[str, Any] = json.loads(text)
    access, disk, device = shown["access"], shown["disk"], shown["device"]
    volume = Volume(
        volume_id=VolumeId.parse(shown["volume_id"]),
        staging_path=shown["staging_path"],
        access=Access(access["mode"], access["fs_type"], tuple(access["mount_flags"])),
        placement=shown["placement"],
        content_source=shown["content_source"],
        state=State(shown["state"]),
        disk=None if disk is None else HostDisk(**(disk | {"uuid": UUID(disk["uuid"])})),
        device=None if device is None else (device[0], device[1], device[2]),
        targets=shown["targets"],
        publication=shown.get("publication", ""),
    )
    return volume if shown["boot_id"] == boot_id else replace(volume, device=None, targets={})
