"""One remote controller: a name, its paths, and the bdevs `<name>n<nsid>` that exist while any path shows them."""

from dataclasses import dataclass
from uuid import UUID

import structlog

from dpucsi.nvme_tcp.host import NamespaceIdentity
from spdk_emulator.bdev.bdev import NVME, Bdev
from spdk_emulator.bdev.registry import Bdevs
from spdk_emulator.initiator.options import NvmeOptions
from spdk_emulator.initiator.path import ENABLED, NvmePath
from spdk_emulator.initiator.remote_io import RemoteIo
from spdk_emulator.initiator.view import show_path, show_path_of_bdev
from spdk_emulator.rpc.errors import RpcError
from spdk_emulator.rpc.params import Json

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Remote:
    """One bdev, the namespace that it stands for, and its I/O."""

    bdev: Bdev
    identity: NamespaceIdentity
    io: RemoteIo


class RemoteController:
    """`is_multipath`: further paths are used together; otherwise they are kept for a failover."""

    def __init__(self, name: str, bdevs: Bdevs, options: NvmeOptions, *, is_multipath: bool) -> None:
        self.name = name
        self.is_multipath = is_multipath
        self.paths: list[NvmePath] = []
        self._bdevs = bdevs
        self._options = options
        self._remotes: dict[int, _Remote] = {}

    def bdev_names(self, path: NvmePath) -> list[str]:
        """Those that a path leads to, in the order of the namespace ids."""
        shown = sorted(nsid for nsid in self._remotes if path in self._holders(nsid))
        return [self._remotes[nsid].bdev.name for nsid in shown]

    def refresh(self) -> None:
        """Makes the bdevs what the paths show, and lets waiting I/O look again.

        Another namespace at the same nsid is another bdev of the same name.
        """
        for nsid, remote in list(self._remotes.items()):
            holders = self._holders(nsid)
            if holders:
                newest = next((path for path in holders if path.state == ENABLED), holders[0])
                self._bdevs.resize(remote.bdev, newest.namespaces[nsid].num_blocks)
                remote.io.tell()
            else:
                del self._remotes[nsid]
                remote.io.end()
                self._bdevs.unregister(remote.bdev)
        shown: dict[int, NamespaceIdentity] = {}
        for path in self.paths:
            shown = path.namespaces | shown
        for nsid, identity in sorted(shown.items()):
            if nsid not in self._remotes:
                self._register(nsid, identity)

    def remove(self, path: NvmePath) -> None:
        """Takes a path away; its bdevs go with the last one."""
        if path in self.paths:
            self.paths.remove(path)
        self.refresh()

    def shows_same(self, namespaces: dict[int, NamespaceIdentity]) -> bool:
        """Whether another path leads to all of our namespaces (bdev_nvme_check_secondary_namespace)."""
        return all(is_same(remote.identity, namespaces.get(nsid)) for nsid, remote in self._remotes.items())

    def describe(self) -> dict[str, Json]:
        """As in bdev_nvme_get_controllers."""
        return {"name": self.name, "ctrlrs": [show_path(path) for path in self.paths]}

    def _holders(self, nsid: int) -> list[NvmePath]:
        """The paths that lead to the namespace of a bdev."""
        wanted = self._remotes[nsid].identity if nsid in self._remotes else None
        return [path for path in self.paths if is_same(path.namespaces.get(nsid), wanted)]

    def _register(self, nsid: int, identity: NamespaceIdentity) -> None:
        io = RemoteIo(nsid, lambda: self._holders(nsid), self._options.bdev_retry_count)
        uuid = seen_uuid(identity)
        bdev = Bdev(
            name=f"{self.name}n{nsid}",
            aliases=[uuid],
            uuid=uuid,
            kind=NVME,
            block_size=identity.block_size,
            num_blocks=identity.num_blocks,
            io=io,
            details=lambda: self._details(nsid),
            is_read_only=identity.is_read_only,
        )
        self._remotes[nsid] = _Remote(bdev, identity, io)
        try:
            self._bdevs.register(bdev)
        except RpcError as taken:
            del self._remotes[nsid]
            log.warning("namespace not shown: its name or uuid is taken", bdev=bdev.name, uuid=uuid, error=str(taken))

    def _details(self, nsid: int) -> dict[str, Json]:
        paths: list[Json] = [show_path_of_bdev(path, nsid) for path in self._holders(nsid)]
        return {"nvme": paths, "mp_policy": "active_passive"}


def seen_uuid(identity: NamespaceIdentity) -> str:
    """The uuid of an initiator's bdev: SPDK takes the namespace's NGUID for it, where there is one."""
    return str(UUID(identity.nguid)) if identity.nguid else identity.uuid


def is_same(one: NamespaceIdentity | None, other: NamespaceIdentity | None) -> bool:
    """Whether two paths show the same namespace (bdev_nvme_compare_ns)."""
    if one is None or other is None:
        return False
    return (one.nguid, one.eui64, one.uuid) == (other.nguid, other.eui64, other.uuid)
