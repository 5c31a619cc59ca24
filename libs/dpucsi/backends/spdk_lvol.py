"""Storage backend `spdk-lvol`: a volume is an lvol of one SPDK lvol store, exported by the NVMe-oF target beside it.

One SPDK process has both. It forgets its targets when it is restarted and keeps its lvols; `grant` brings an export
back whole, so nothing else has to. The allow-list is part of what is forgotten, and with it the generation of every
attachment (design section 2): publishing again after a restart makes a new one, under which the DPU has to attach anew.
To keep the old one, somebody has to remember it who outlives SPDK; the controller must not, as a second replica would
not know. Kubernetes' VolumeAttachments do remember: csi-controller --kubernetes grants again what they say.

Costs, in rounds of SPDK's look at its socket: create, delete, grant and the last revoke take two, one to read and one
to act; a revoke that leaves other hosts alone takes one more, to see that the sessions are gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Self
from uuid import UUID

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.backends.contract import Capacity, SizeRange, Volume
from dpucsi.backends.lvol_seen import look, look_at_all, look_at_lvol, look_at_store, look_at_target, lvol_volume
from dpucsi.backends.lvol_settings import Settings
from dpucsi.backends.lvol_size import MIB, PARAMETERS, is_thin, lvol_capacity, lvol_size, no_room
from dpucsi.backends.spdk_export import Export, Gap
from dpucsi.errors import FailedPreconditionError, ResourceExhaustedError, UnavailableError
from dpucsi.model import AttachSpec
from dpucsi.spdk import Instance, SpdkClient, SpdkError, TlsFiles, lvol, nvmf

ATTEMPTS = 3  # read, act, and read again where an act was refused: somebody else may have been at it
FENCE_S = 30.0  # a healthy target cuts a host off within 1 s; one whose disk hangs has its I/O to wait for

Calls = list[Awaitable[object]]


class SpdkLvolBackend:
    """See dpucsi.backends.contract for what each method promises."""

    parameters: Mapping[str, str] = PARAMETERS

    def __init__(self, name: str, settings: Settings) -> None:
        self._settings = settings
        tls = TlsFiles(*settings.tls) if settings.tls else None
        self.client = SpdkClient(settings.rpc, name=f"storage backend {name}", tls=tls)

    @classmethod
    def configure(cls, name: str, table: Mapping[str, object]) -> Self:
        """The keys of the table are the fields of `Settings`."""
        return cls(name, Settings.of(table))

    async def close(self) -> None:
        """Ends the connection to SPDK."""
        await self.client.close()

    async def create(self, uuid: UUID, size: SizeRange, parameters: Mapping[str, str]) -> Volume:
        """A thin lvol unless the parameter `thin` says otherwise, its size rounded up to whole clusters."""
        thin = is_thin(parameters)
        made_with = {"thin": "true" if thin else "false"}
        store, found = await look_at_lvol(self.client, self._settings.lvstore, uuid)
        if found is None:
            wanted = lvol_size(size, store, thin=thin)
            try:
                await self._create(uuid, wanted, thin=thin)
                return Volume(uuid, wanted, made_with)
            except SpdkError as refused:
                store, found = await look_at_lvol(self.client, self._settings.lvstore, uuid)
                if found is None:
                    raise _not_created(uuid, wanted, store, refused, thin=thin) from refused
        volume = lvol_volume(uuid, found)
        volume.check_same(size, made_with)
        return volume

    async def _create(self, uuid: UUID, size_bytes: int, *, thin: bool) -> None:
        await lvol.bdev_lvol_create(
            self.client,
            lvs_name=self._settings.lvstore,
            lvol_name=naming.lvol_name(uuid),
            size_in_mib=size_bytes // MIB,
            thin_provision=thin,
            clear_method=self._settings.clear_method,
        )

    async def get(self, uuid: UUID) -> Volume:
        """One round."""
        return (await look(self.client, self._settings.lvstore, uuid)).volume

    async def capacity(self, parameters: Mapping[str, str]) -> Capacity:
        """One round."""
        thin = is_thin(parameters)
        return lvol_capacity(await look_at_store(self.client, self._settings.lvstore), thin=thin)

    async def list_volumes(self) -> tuple[Volume, ...]:
        """One round, whose answers have 1.5 MB per 1,000 volumes."""
        return await look_at_all(self.client, self._settings.lvstore)

    async def new_instance(self, other_than: object = None) -> object:
        """A new SPDK process: it forgets its targets and keeps its lvols."""
        return await self.client.new_instance(other_than if isinstance(other_than, Instance) else None)

    async def delete(self, uuid: UUID) -> None:
        """SPDK itself would delete an lvol under a connected host without a word, so it is on us to look."""
        await _until_done(lambda: f"volume {uuid} could not be deleted", lambda: self._delete(uuid))

    async def _delete(self, uuid: UUID) -> Calls:
        seen = await look(self.client, self._settings.lvstore, uuid)
        users = seen.target.users(lambda _: True)
        if users:
            raise FailedPreconditionError(
                f"volume {uuid} is still published to {', '.join(users)}; unpublish it from every node, then delete it"
            )
        calls: Calls = []
        if seen.target.subsystem is not None:  # left over: nobody is in, nobody may come in
            calls.append(nvmf.nvmf_delete_subsystem(self.client, nqn=seen.target.subsystem.nqn))
        if seen.found is not None:
            calls.append(lvol.bdev_lvol_delete(self.client, name=seen.found.name))
        return calls

    async def grant(self, uuid: UUID, choose: Callable[[Volume], str]) -> AttachSpec:
        """Two rounds; one more on an SPDK that has no transport yet."""
        specs: list[AttachSpec] = []  # of each attempt
        gaps: list[Gap] = []

        async def attempt() -> Calls:
            seen = await look(self.client, self._settings.lvstore, uuid)
            volume = seen.volume
            export = Export(uuid, seen.existing.name, choose(volume), self._settings.listeners)
            specs.append(AttachSpec(uuid, export.nqn, export.hostnqn, export.listeners, volume.size_bytes))
            gaps.append(export.gap(seen.target.subsystem))
            if gaps[-1].listeners and self._settings.trtype not in seen.transports:
                await nvmf.nvmf_create_transport(self.client, trtype=self._settings.trtype)
            return export.calls(self.client, gaps[-1])

        await _until_done(lambda: f"the export of volume {uuid} still lacks {gaps[-1]}", attempt)
        return specs[-1]

    async def revoke(self, uuid: UUID, whose: Callable[[str], bool]) -> None:
        """With its last host the whole subsystem goes, else the hosts alone.

        nvmf_delete_subsystem answers when every queue pair is disconnected and every controller destroyed (SPDK's
        lib/nvmf: nvmf_poll_group_remove_subsystem, then _nvmf_subsystem_destroy), so its answer is the fence.
        nvmf_subsystem_remove_host may answer earlier, so there the sessions are watched until they are gone.
        """
        await _until_done(lambda: f"volume {uuid} could not be taken from its hosts", lambda: self._revoke(uuid, whose))

    async def _revoke(self, uuid: UUID, whose: Callable[[str], bool]) -> Calls:
        target = await look_at_target(self.client, uuid)
        if target.subsystem is None:
            return []
        nqn = target.subsystem.nqn
        if all(whose(host) for host in target.hosts):
            return [nvmf.nvmf_delete_subsystem(self.client, nqn=nqn)]
        revoked = target.users(whose)
        if not revoked:
            return []
        await asyncio.gather(*self._cut_off(nqn, revoked, target.hosts))
        return [self._fenced(uuid, whose)]

    def _cut_off(self, nqn: str, revoked: Iterable[str], allowed: Collection[str]) -> Calls:
        """Ends the sessions, in one write.

        A connect that SPDK had just let in when its host was removed keeps its session, and remove_host, which alone
        ends sessions, takes none but an allowed host: such a one is allowed for the moment between two calls. Should
        it come back in that moment, the fence sees it.
        """
        calls: Calls = []
        for host in revoked:
            if host not in allowed:
                calls.append(nvmf.nvmf_subsystem_add_host(self.client, nqn=nqn, host=host))
            calls.append(nvmf.nvmf_subsystem_remove_host(self.client, nqn=nqn, host=host))
        return calls

    async def _fenced(self, uuid: UUID, whose: Callable[[str], bool]) -> None:
        async def no_users() -> bool | None:
            return None if (await look_at_target(self.client, uuid)).users(whose) else True

        await wait_until(no_users, f"volume {uuid}: the end of its revoked hosts' sessions", timeout_s=FENCE_S)


async def _until_done(failure: Callable[[], str], attempt: Callable[[], Awaitable[Calls]]) -> None:
    """Reads, and sends together what `attempt` found to do; where SPDK refuses, only reading again tells what is."""
    refusal: SpdkError | None = None
    for _ in range(ATTEMPTS):
        try:
            outcomes = await asyncio.gather(*await attempt(), return_exceptions=True)
        except SpdkError as refused:
            outcomes = [refused]
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if not errors:
            return
        for error in errors:
            if not isinstance(error, SpdkError):
                raise error
            refusal = refusal or error
    raise UnavailableError(f"{failure()}: {refusal}; the log of that SPDK says why") from refusal


def _not_created(
    uuid: UUID, size_bytes: int, store: lvol.Lvstore, refused: SpdkError, *, thin: bool
) -> ResourceExhaustedError | UnavailableError:
    if not thin and store.free_bytes < size_bytes:
        return no_room(size_bytes, store, thin=thin)
    return UnavailableError(
        f"volume {uuid} with {size_bytes} bytes could not be made: {refused}; the log of that SPDK says why"
    )
