"""The session with SPDK behind a function: NVMe over its socket, which stands for PCIe between SPDK and the card."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from dpucsi.nvme_tcp.host import HostController
from emulated_card.controller import Controller

# A PCIe host has no name, and does not know the subsystem before it asks: Identify Controller tells.
ANY_SUBSYSTEM = ""
HOSTNQN = "nqn.2024-01.io.dpucsi:emulated-card"
HOSTID = UUID("5f0d2f0a-3c0e-4f7a-9d55-1a2e8a7c4b60")
NO_KEEP_ALIVE = 0  # a process at the end of a unix socket that dies is noticed at once


async def connect(socket: Path, *, on_namespaces: Callable[[], None], on_lost: Callable[[], None]) -> Controller:
    """See emulated_card.controller.Connect."""
    loop = asyncio.get_running_loop()
    controller = await HostController.connect(
        lambda protocol: loop.create_unix_connection(protocol, str(socket)),
        subnqn=ANY_SUBSYSTEM,
        hostnqn=HOSTNQN,
        hostid=HOSTID,
        kato_ms=NO_KEEP_ALIVE,
        on_namespaces=on_namespaces,
        on_lost=on_lost,
    )
    controller.subnqn = controller.identity.subnqn
    return controller
