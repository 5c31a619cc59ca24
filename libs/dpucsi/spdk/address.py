"""An NVMe-oF address as SPDK writes it, for a listener and for a path alike."""

from dataclasses import dataclass

from dpucsi.spdk.answers import Fields
from dpucsi.spdk.jsonrpc import Json


@dataclass(frozen=True, order=True)
class TransportAddress:
    """`trtype` TCP, RDMA or VFIOUSER; `adrfam` IPv4, IPv6, or "" where there is none (VFIOUSER: a folder, port 0)."""

    trtype: str
    traddr: str
    trsvcid: str
    adrfam: str = ""

    def params(self) -> dict[str, Json]:
        """As SPDK takes it."""
        address: dict[str, Json] = {"trtype": self.trtype, "traddr": self.traddr, "trsvcid": self.trsvcid}
        return address | ({"adrfam": self.adrfam} if self.adrfam else {})


def transport_address(address: Fields) -> TransportAddress:
    """As SPDK shows it: it says "unknown" of a family that it was not told."""
    adrfam = address.text("adrfam", "").removeprefix("unknown")
    return TransportAddress(address.text("trtype"), address.text("traddr"), address.text("trsvcid"), adrfam)
