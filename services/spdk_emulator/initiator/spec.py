"""Where a path leads, and who we are on it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from dpucsi.nvme_tcp.host import Dial
from spdk_emulator.nvmf.address import Address
from spdk_emulator.rpc.params import Json


@dataclass(frozen=True)
class PathSpec:
    """One network path to a subsystem. `hostaddr`, `hostsvcid`: our own end of it, "" for any."""

    address: Address
    subnqn: str
    hostnqn: str
    hostid: str
    hostaddr: str = ""
    hostsvcid: str = ""
    hdgst: bool = False
    ddgst: bool = False

    @property
    def host_uuid(self) -> UUID:
        """Our host identifier."""
        return UUID(self.hostid)

    def matches(self, wanted: dict[str, str | None]) -> bool:
        """Whether every named member is this path's."""
        mine = {
            "trtype": self.address.trtype.lower(),
            "adrfam": self.address.adrfam.lower(),
            "traddr": self.address.traddr,
            "trsvcid": self.address.trsvcid,
            "subnqn": self.subnqn,
            "hostaddr": self.hostaddr,
            "hostsvcid": self.hostsvcid,
        }
        folded = {name: text.lower() if name in ("trtype", "adrfam") else text for name, text in wanted.items() if text}
        return all(mine[name] == text for name, text in folded.items())

    def trid(self) -> dict[str, Json]:
        """As SPDK shows where a path leads."""
        return self.address.describe() | {"subnqn": self.subnqn}

    def dial(self, timeout_s: float | None) -> Dial:
        """Makes TCP connections there, each within `timeout_s`; they raise OSError."""

        async def connect(
            factory: Callable[[], asyncio.Protocol],
        ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
            port = _port(self.address.trsvcid)
            local = (self.hostaddr or "0.0.0.0", _port(self.hostsvcid) if self.hostsvcid else 0)  # noqa: S104
            is_local_given = bool(self.hostaddr or self.hostsvcid)
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().create_connection(
                    factory, self.address.traddr, port, local_addr=local if is_local_given else None
                )

        return connect


def _port(trsvcid: str) -> int:
    """SPDK takes 1 to 65535 and nothing else, for our own end too."""
    if not trsvcid.isascii() or not trsvcid.isdigit() or not 1 <= int(trsvcid) <= 65535:
        raise ConnectionError(f"port {trsvcid!r}")
    return int(trsvcid)
