"""Looking at SPDK: object by object, or at everything in one round."""

import asyncio
from dataclasses import dataclass
from typing import Self

from dpucsi.spdk import SpdkClient
from dpucsi.spdk.bdev import Bdev, find_bdev
from dpucsi.spdk.nvme import RemoteController, bdev_nvme_get_controllers, find_nvme_controller
from dpucsi.spdk.nvmf import Subsystem, find_subsystem, nvmf_get_subsystems, nvmf_get_transports


@dataclass(frozen=True)
class LiveView:
    """Each look is a read by name; looks made together share a round."""

    client: SpdkClient

    async def subsystem(self, nqn: str) -> Subsystem | None:
        """See View."""
        return await find_subsystem(self.client, nqn)

    async def remote_controller(self, name: str) -> RemoteController | None:
        """See View."""
        return await find_nvme_controller(self.client, name)

    async def bdev(self, name: str) -> Bdev | None:
        """See View."""
        return await find_bdev(self.client, name)


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment, without the bdevs: they are 800 KB per thousand, and only `make` wants one of them."""

    subsystems: dict[str, Subsystem]
    remote_controllers: dict[str, RemoteController]
    transports: frozenset[str]

    @classmethod
    async def take(cls, client: SpdkClient) -> Self:
        """One round."""
        subsystems, remote_controllers, transports = await asyncio.gather(
            nvmf_get_subsystems(client), bdev_nvme_get_controllers(client), nvmf_get_transports(client)
        )
        return cls(
            {subsystem.nqn: subsystem for subsystem in subsystems},
            {controller.name: controller for controller in remote_controllers},
            frozenset(transport.upper() for transport in transports),
        )

    async def subsystem(self, nqn: str) -> Subsystem | None:
        """See View."""
        return self.subsystems.get(nqn)

    async def remote_controller(self, name: str) -> RemoteController | None:
        """See View."""
        return self.remote_controllers.get(name)

    async def bdev(self, name: str) -> Bdev | None:
        """Unknown."""
        return None


@dataclass(frozen=True)
class ReplayView:
    """For bringing back what a snapshot lacks: nobody else makes our objects, so only bdevs are looked up again."""

    snapshot: Snapshot
    live: LiveView

    async def subsystem(self, nqn: str) -> Subsystem | None:
        """As of the snapshot."""
        return await self.snapshot.subsystem(nqn)

    async def remote_controller(self, name: str) -> RemoteController | None:
        """As of the snapshot."""
        return await self.snapshot.remote_controller(name)

    async def bdev(self, name: str) -> Bdev | None:
        """As of now: it came with a path that was brought back a moment ago."""
        return await self.live.bdev(name)
