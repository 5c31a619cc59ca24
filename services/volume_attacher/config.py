"""What volume-attacher is told."""

import re
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dpucsi.config import ServiceConfig, option
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import HostFunction
from dpucsi.store import identity_option
from volume_attacher.slots import Functions

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
NAMESPACES_MAX = 1024  # SPDK sizes a subsystem's tables by it; far beyond what a Host mounts


@dataclass(frozen=True)
class NamedFunction:
    """One function of the card, and where its Host finds it."""

    function: HostFunction
    pci_address: str  # "" where nobody told

    @classmethod
    def parse(cls, text: str) -> "NamedFunction":
        """From port0-pf0=0000:3b:00.0, or port0-pf0= where the address is not known."""
        function, _, address = text.partition("=")
        if address and not _PCI_ADDRESS.fullmatch(address):
            raise InvalidArgumentError(f"PCI address {address!r} in {text!r} is not of the form 0000:3b:00.0")
        return cls(HostFunction.parse(function), address)


@dataclass(frozen=True, kw_only=True)
class Config(ServiceConfig):
    """Options of volume-attacher."""

    opi: str = option("gRPC endpoint of the OPI server (opi-bridge), unix:///path or tcp://host:port")
    state: Path = option("file of the durable records; on a disk that outlives a restart of the DPU")
    dpu_uuid: UUID | Path = option(
        "identity of this DPU, the same as csi-node-dpu's: a UUID, or the absolute path of a file that holds it and is "
        "made at the first start",
        parse=identity_option,
    )
    shared_functions: tuple[NamedFunction, ...] = option(
        "function that carries many volumes as namespaces of one controller, with its PCI address on the Host: "
        "port0-pf0=0000:3b:00.0; repeat for more",
        default=(),
        parse=NamedFunction.parse,
    )
    exclusive_functions: tuple[NamedFunction, ...] = option(
        "function for one volume of its own, as a VM's pass-through needs it: port0-pf0-vf1=0000:3b:00.1; repeat",
        default=(),
        parse=NamedFunction.parse,
    )
    namespaces_per_function: int = option(
        "most volumes on one shared function; times the shared functions, plus the exclusive ones, it is the attach "
        "limit that a scheduler sees; cannot change while volumes are attached",
        default=32,
    )
    transports: tuple[str, ...] = option("NVMe-oF transport to storage, TCP or RDMA; repeat for more", default=("TCP",))
    reconcile_period: float = option(
        "seconds between two looks at the OPI server's objects when nothing else calls for one", default=30.0
    )

    def __post_init__(self) -> None:
        """Compares options with each other; raises InvalidArgumentError."""
        functions = [named.function for named in (*self.shared_functions, *self.exclusive_functions)]
        if not functions:
            raise InvalidArgumentError(
                "no function to put volumes on: give --shared-functions or --exclusive-functions"
            )
        if len(set(functions)) != len(functions):
            raise InvalidArgumentError("--shared-functions and --exclusive-functions name one function twice")
        if not 1 <= self.namespaces_per_function <= NAMESPACES_MAX:
            raise InvalidArgumentError(f"--namespaces-per-function must be 1 to {NAMESPACES_MAX}")
        if not self.transports or set(self.transports) - {"TCP", "RDMA"}:
            raise InvalidArgumentError(f"--transports {', '.join(self.transports)!r}: only TCP and RDMA exist")

    def functions(self) -> Functions:
        """The card, as slots are placed on it."""
        return Functions(
            shared={named.function: named.pci_address for named in self.shared_functions},
            exclusive={named.function: named.pci_address for named in self.exclusive_functions},
            namespaces_per_function=self.namespaces_per_function,
        )
