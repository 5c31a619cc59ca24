"""A host without PCIe emulation: what would be a function is an NVMe/TCP address, which the host connects to itself.

Function number n of the option `functions` is `address:base_port+n`. A request may also name an address of its own.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Self

from dpucsi.dpus.contract import Placement
from dpucsi.dpus.listener import ListenerDriver
from dpucsi.dpus.options import function_list, known_options
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import HostFunction
from dpucsi.naming import check_nqn
from dpucsi.spdk.address import TransportAddress

PORT_MAX = 65535


class NvmfTcpDriver(ListenerDriver):
    """Functions as ports of one address; `hostnqn` is the only host let in, "" lets in any."""

    trtype = "TCP"

    def __init__(
        self, address: str, base_port: int, functions: tuple[HostFunction, ...] = (), hostnqn: str = ""
    ) -> None:
        super().__init__(functions)
        self._address = address
        self._base_port = base_port
        self._hostnqn = hostnqn

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Options: `address` (an IP of this machine), `base_port` (default 4430), `functions`, `hostnqn`."""
        known_options("nvmf-tcp", options, ("address", "base_port", "functions", "hostnqn"))
        functions = function_list(options)
        hostnqn = options.get("hostnqn", "")
        if hostnqn:
            check_nqn(hostnqn, "driver option hostnqn")
        return cls(
            _ip(options.get("address", "")), _port(options.get("base_port", "4430"), functions), functions, hostnqn
        )

    def allowed_host(self) -> str:
        """The one host behind this DPU, where it was named."""
        return self._hostnqn

    def listen_address(self, placement: Placement) -> TransportAddress:
        """The address asked for, or the function's."""
        if placement.address is not None:
            if placement.address.trtype.upper() != self.trtype:
                raise InvalidArgumentError(f"this DPU listens on TCP only, so {placement} is none of its places")
            return placement.address
        if placement.function not in self._functions:
            raise InvalidArgumentError(
                f"{placement} has no port: name it in --driver-option functions=…, or ask for an address"
            )
        return TransportAddress(
            trtype=self.trtype,
            adrfam=f"IPv{ip_address(self._address).version}",
            traddr=self._address,
            trsvcid=str(self._base_port + self._functions.index(placement.function)),
        )


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as wrong:
        raise InvalidArgumentError(
            f"the DPU driver nvmf-tcp needs --driver-option address=IP, an address of this machine; got {text!r}"
        ) from wrong


def _port(text: str, functions: tuple[HostFunction, ...]) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= PORT_MAX - len(functions):
        raise InvalidArgumentError(
            f"driver option base_port={text!r} is no TCP port with room for {len(functions)} functions behind it"
        )
    return int(text)
