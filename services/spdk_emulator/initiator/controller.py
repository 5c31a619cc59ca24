"""One remote controller: a name, its paths, and the bdevs `<name>n<nsid>` that exist while any path shows them."""

from uuid import UUID

import structlog

from spdk_emulator.bdev.bdev import NVME, Bdev
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.fabric.messages import NamespaceInfo
from spdk_emulator.initiator.path import NvmePath
from spdk_emulator.rpc.errors import RpcError
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)


class RemoteController:
    """`is_multipath`: further paths are used together; otherwise they are kept for a failover."""

    def __init__(self, name: str, bdevs: Bdevs, *, is_multipath: bool) -> None:
        self.name = name
        self.is_multipath = is_multipath
        self.paths: list[NvmePath] = []
        self._bdevs = bdevs
        self._bdev_of: dict[int, Bdev] = {}

    def bdev_names(self) -> list[str]:
        """In the order of the namespace ids."""
        return [bdev.name for _, bdev in sorted(self._bdev_of.items())]

    def refresh(self) -> None:
        """Makes the bdevs what the paths show: another uuid at the same nsid is another bdev of the same name."""
        shown: dict[int, NamespaceInfo] = {}
        for path in self.paths:
            for nsid, info in path.namespaces.items():
                shown.setdefault(nsid, info)
        for nsid, bdev in list(self._bdev_of.items()):
            now = shown.get(nsid)
            if now is None or seen_uuid(now) != bdev.uuid or now.path != bdev.path:
                del self._bdev_of[nsid]
                self._bdevs.unregister(bdev)
            else:
                self._bdevs.resize(bdev, now.num_blocks)
        for nsid, info in sorted(shown.items()):
            if nsid not in self._bdev_of:
                self._register(info)

    def remove(self, path: NvmePath) -> None:
        """Takes a path away; its bdevs go with the last one."""
        path.close()
        if path in self.paths:
            self.paths.remove(path)
        self.refresh()

    def describe(self) -> dict[str, Json]:
        """As in bdev_nvme_get_controllers."""
        return {"name": self.name, "ctrlrs": [path.describe() for path in self.paths]}

    def _register(self, info: NamespaceInfo) -> None:
        bdev = Bdev(
            name=f"{self.name}n{info.nsid}",
            aliases=[seen_uuid(info)],
            uuid=seen_uuid(info),
            kind=NVME,
            block_size=info.block_size,
            num_blocks=info.num_blocks,
            path=info.path,
            details=lambda: self._details(info.nsid),
            is_read_only=info.is_read_only,
        )
        try:
            self._bdevs.register(bdev)
        except RpcError as taken:
            log.warning(
                "namespace not shown: its name or uuid is taken", bdev=bdev.name, uuid=bdev.uuid, error=str(taken)
            )
            return
        self._bdev_of[info.nsid] = bdev

    def _details(self, nsid: int) -> dict[str, Json]:
        paths: list[Json] = [path.describe_for_bdev(nsid) for path in self.paths if nsid in path.namespaces]
        return {"nvme": paths, "mp_policy": "active_passive"}


def seen_uuid(info: NamespaceInfo) -> str:
    """The uuid of an initiator's bdev: SPDK takes the namespace's NGUID for it, not the namespace's UUID."""
    return str(UUID(info.nguid))
