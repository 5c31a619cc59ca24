"""A storage backend in memory, for tests of what stands above it. It passes the conformance suite."""
# ruff: noqa: D102 - dpucsi.backends.contract says what each method does

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self
from uuid import UUID

from dpucsi import naming
from dpucsi.backends import Capacity, SizeRange, Volume
from dpucsi.errors import (
    DpucsiError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    UnavailableError,
)
from dpucsi.model import AttachSpec, TargetPath

MIB = 1024 * 1024
CAPACITY = 1 << 40


class FakeBackend:
    """Also an Initiator of its own. `trouble` is raised by every method; `gate`, when cleared, holds them up."""

    parameters: Mapping[str, str] = {"thin": '"true" or "false"'}

    def __init__(self, paths: tuple[TargetPath, ...] = (TargetPath("127.0.0.1", "4420"),)) -> None:
        self.paths = paths
        self.volumes: dict[UUID, Volume] = {}
        self.sessions: set[tuple[UUID, str]] = set()
        self.trouble: DpucsiError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()  # set once something waits at the gate
        self._instance = 1
        self._restarted = asyncio.Event()

    @classmethod
    def configure(cls, name: str, table: Mapping[str, object]) -> Self:
        """It takes no keys."""
        if table:
            raise InvalidArgumentError(f"key {min(table)!r} is unknown; the fake of {name} takes none")
        return cls()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def create(self, uuid: UUID, size: SizeRange, parameters: Mapping[str, str]) -> Volume:
        await self._enter()
        self._check_known(parameters)
        made_with = {"thin": "true", **parameters}
        if uuid in self.volumes:
            self.volumes[uuid].check_same(size, made_with)
            return self.volumes[uuid]
        wanted = -(-(size.required_bytes or min(64 * MIB, size.limit_bytes or CAPACITY)) // MIB) * MIB
        if wanted not in size or wanted > CAPACITY:
            raise OutOfRangeError(f"{wanted} bytes are not possible")
        self.volumes[uuid] = Volume(uuid, wanted, made_with)
        return self.volumes[uuid]

    async def delete(self, uuid: UUID) -> None:
        await self._enter()
        if uuid in self.volumes and self.volumes[uuid].hosts:
            raise FailedPreconditionError(f"volume {uuid} is published to {', '.join(self.volumes[uuid].hosts)}")
        self.volumes.pop(uuid, None)

    async def get(self, uuid: UUID) -> Volume:
        await self._enter()
        return self._existing(uuid)

    async def capacity(self, parameters: Mapping[str, str]) -> Capacity:
        await self._enter()
        self._check_known(parameters)
        return Capacity(CAPACITY - sum(volume.size_bytes for volume in self.volumes.values()), CAPACITY, MIB)

    async def grant(self, uuid: UUID, choose: Callable[[Volume], str]) -> AttachSpec:
        await self._enter()
        volume = self._existing(uuid)
        hostnqn = choose(volume)
        self.volumes[uuid] = replace(volume, hosts=tuple(dict.fromkeys((*volume.hosts, hostnqn))))
        return AttachSpec(uuid, naming.subnqn(uuid), hostnqn, self.paths, volume.size_bytes)

    async def revoke(self, uuid: UUID, whose: Callable[[str], bool]) -> None:
        await self._enter()
        self.sessions = {(one, nqn) for one, nqn in self.sessions if one != uuid or not whose(nqn)}
        if uuid in self.volumes:
            volume = self.volumes[uuid]
            self.volumes[uuid] = replace(volume, hosts=tuple(nqn for nqn in volume.hosts if not whose(nqn)))

    async def list_volumes(self) -> tuple[Volume, ...]:
        await self._enter()
        return tuple(self.volumes.values())

    async def new_instance(self, other_than: object = None) -> object:
        while self._instance == other_than:
            await self._restarted.wait()
        return self._instance

    def restart(self) -> None:
        """Forgets every export, as SPDK does."""
        self.volumes = {uuid: replace(volume, hosts=()) for uuid, volume in self.volumes.items()}
        self.sessions.clear()
        self._instance += 1
        self._restarted.set()
        self._restarted = asyncio.Event()

    async def connect(self, spec: AttachSpec) -> None:
        """As an initiator."""
        if spec.hostnqn not in self._existing(spec.uuid).hosts:
            raise UnavailableError(f"{spec.hostnqn} may not connect to {spec.subnqn}")
        self.sessions.add((spec.uuid, spec.hostnqn))

    async def connected(self, spec: AttachSpec) -> bool:
        """As an initiator."""
        return (spec.uuid, spec.hostnqn) in self.sessions

    async def _enter(self) -> None:
        if not self.gate.is_set():
            self.waiting.set()
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble

    def _check_known(self, parameters: Mapping[str, str]) -> None:
        unknown = sorted(parameters.keys() - self.parameters.keys())
        if unknown:
            raise InvalidArgumentError(f"parameter {unknown[0]!r} is unknown")

    def _existing(self, uuid: UUID) -> Volume:
        if uuid not in self.volumes:
            raise NotFoundError(f"volume {uuid} does not exist")
        return self.volumes[uuid]
