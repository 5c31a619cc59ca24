"""Where a subsystem listens, or a path leads."""

from dataclasses import dataclass

from spdk_emulator.rpc.params import Json

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6", "ib": "IB", "fc": "FC", "intra_host": "Intra_Host"}


@dataclass(frozen=True)
class Address:
    """`trtype` in capitals, `adrfam` as SPDK shows it ("unknown" where nobody said one)."""

    trtype: str
    adrfam: str
    traddr: str
    trsvcid: str

    @classmethod
    def make(cls, trtype: str, adrfam: str | None, traddr: str, trsvcid: str | None) -> "Address":
        """From what a caller wrote; raises ValueError for an unknown family."""
        name = trtype.upper()
        default = "IPv4" if name in ("TCP", "RDMA") else "unknown"
        if adrfam and adrfam.lower() not in _FAMILIES:
            raise ValueError(f"address family {adrfam}")
        return cls(name, _FAMILIES[adrfam.lower()] if adrfam else default, traddr, trsvcid or "")

    def describe(self) -> dict[str, Json]:
        """As SPDK shows it."""
        return {"trtype": self.trtype, "adrfam": self.adrfam, "traddr": self.traddr, "trsvcid": self.trsvcid}
