"""Everything that one SPDK shows of one volume, read in one round; what is not there reads as None or nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from dpucsi import naming
from dpucsi.backends.contract import Volume
from dpucsi.errors import NotFoundError, UnavailableError
from dpucsi.spdk import SpdkClient, SpdkError, bdev, lvol, nvmf


@dataclass(frozen=True)
class TargetSeen:
    """The volume's subsystem, and who is connected to it."""

    subsystem: nvmf.Subsystem | None
    sessions: tuple[nvmf.NvmfController, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The allow-list."""
        return self.subsystem.hosts if self.subsystem else ()

    def users(self, whose: Callable[[str], bool]) -> tuple[str, ...]:
        """The host NQNs for which `whose` says True and that may connect, or are still connected."""
        known = dict.fromkeys((*self.hosts, *(session.hostnqn for session in self.sessions)))
        return tuple(nqn for nqn in known if whose(nqn))


@dataclass(frozen=True)
class Seen:
    """The volume (`found`: its bdev), its target, and what is around them."""

    uuid: UUID
    store: lvol.Lvstore
    found: bdev.Bdev | None
    target: TargetSeen
    transports: tuple[str, ...]

    @property
    def existing(self) -> bdev.Bdev:
        """The lvol's bdev; raises NotFoundError."""
        if self.found is None:
            raise NotFoundError(f"volume {self.uuid} does not exist in lvol store {self.store.name}")
        return self.found

    @property
    def volume(self) -> Volume:
        """In the contract's words; raises NotFoundError."""
        return replace(
            lvol_volume(self.uuid, self.existing),
            hosts=self.target.hosts,
            leaving=self.target.users(lambda nqn: nqn not in self.target.hosts),
        )


def lvol_volume(uuid: UUID, found: bdev.Bdev) -> Volume:
    """The volume without its target."""
    thin = {} if found.lvol is None else {"thin": "true" if found.lvol.thin_provision else "false"}
    return Volume(uuid, found.size_bytes, thin)


async def look(client: SpdkClient, lvstore: str, uuid: UUID) -> Seen:
    """Raises UnavailableError where the store is not there: without it, "no such lvol" means nothing."""
    (store, found), target, transports = await asyncio.gather(
        look_at_lvol(client, lvstore, uuid), look_at_target(client, uuid), nvmf.nvmf_get_transports(client)
    )
    return Seen(uuid, store, found, target, transports)


async def look_at_all(client: SpdkClient, lvstore: str) -> tuple[Volume, ...]:
    """Every volume in the store, with the hosts that may connect; raises as `look`."""
    store, bdevs, subsystems = await asyncio.gather(
        look_at_store(client, lvstore), bdev.bdev_get_bdevs(client), nvmf.nvmf_get_subsystems(client)
    )
    hosts = {subsystem.nqn: subsystem.hosts for subsystem in subsystems}
    volumes = []
    for found in bdevs:
        uuid = _volume_in(store.name, found)
        if uuid is not None:
            volumes.append(replace(lvol_volume(uuid, found), hosts=hosts.get(naming.subnqn(uuid), ())))
    return tuple(volumes)


def _volume_in(lvstore: str, found: bdev.Bdev) -> UUID | None:
    for alias in found.aliases:
        store, _, name = alias.partition("/")
        if store == lvstore and found.lvol is not None:
            return naming.uuid_of_lvol(name)
    return None


async def look_at_lvol(client: SpdkClient, lvstore: str, uuid: UUID) -> tuple[lvol.Lvstore, bdev.Bdev | None]:
    """The store, and the volume's bdev in it; raises as `look`."""
    alias = f"{lvstore}/{naming.lvol_name(uuid)}"
    return await asyncio.gather(look_at_store(client, lvstore), bdev.find_bdev(client, alias))


async def look_at_target(client: SpdkClient, uuid: UUID) -> TargetSeen:
    """Needs no store: a fence must not wait for a disk."""
    nqn = naming.subnqn(uuid)
    return TargetSeen(*await asyncio.gather(nvmf.find_subsystem(client, nqn), _sessions(client, nqn)))


async def look_at_store(client: SpdkClient, name: str) -> lvol.Lvstore:
    """The store alone; raises as `look`."""
    try:
        (store,) = await lvol.bdev_lvol_get_lvstores(client, lvs_name=name)
    except SpdkError as refused:
        raise UnavailableError(
            f"{client} has no lvol store {name} now; give it the bdev below, lvol stores come back by themselves"
        ) from refused
    return store


async def _sessions(client: SpdkClient, nqn: str) -> tuple[nvmf.NvmfController, ...]:
    try:
        return await nvmf.nvmf_subsystem_get_controllers(client, nqn=nqn)
    except SpdkError:  # no such subsystem: the same round's find_subsystem says so too
        return ()
