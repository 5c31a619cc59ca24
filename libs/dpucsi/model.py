"""Frozen values that more than one layer speaks about."""

import re
from dataclasses import dataclass
from uuid import UUID

from dpucsi.errors import InvalidArgumentError

_FUNCTION = re.compile(r"port(?P<port>\d+)-pf(?P<pf>\d+)(?:-vf(?P<vf>\d+))?")


@dataclass(frozen=True, order=True)
class HostFunction:
    """A PCIe function that the DPU shows its Host. `vf` 0 is the physical function itself, as in OPI's PciEndpoint."""

    port: int
    pf: int
    vf: int = 0

    def __str__(self) -> str:
        return f"port{self.port}-pf{self.pf}" + (f"-vf{self.vf}" if self.vf else "")

    @classmethod
    def parse(cls, text: str) -> "HostFunction":
        """The opposite of str(); raises InvalidArgumentError."""
        found = _FUNCTION.fullmatch(text)
        if not found:
            raise InvalidArgumentError(f"function {text!r} is not of the form port0-pf0 or port0-pf0-vf1")
        return cls(int(found["port"]), int(found["pf"]), int(found["vf"] or 0))


@dataclass(frozen=True, order=True)
class TargetPath:
    """One NVMe-oF address of a target subsystem. `trtype` is TCP or RDMA, `adrfam` IPv4 or IPv6 (SPDK's spelling)."""

    traddr: str
    trsvcid: str
    trtype: str = "TCP"
    adrfam: str = "IPv4"


@dataclass(frozen=True)
class AttachSpec:
    """Everything a DPU needs to bring one volume to its Host, whichever storage backend it comes from.

    `size_bytes` is the volume's size when it was published: its disk is never smaller (0: the backend did not say).
    """

    uuid: UUID
    subnqn: str
    hostnqn: str
    paths: tuple[TargetPath, ...]
    size_bytes: int = 0


@dataclass(frozen=True)
class HostDisk:
    """What the DPU promises its Host: the namespace by which the Host finds, and then proves, its disk.

    `nguid` is 32 lower-case hex digits; `size_bytes` the least size that the namespace has (0: unknown); `pci_address`
    is like 0000:3b:00.1, or "" where the DPU cannot name one.
    """

    uuid: UUID
    nguid: str
    nsid: int
    size_bytes: int
    pci_address: str
