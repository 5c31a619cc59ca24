"""Where a Host finds a function of the emulated card on its PCI bus."""

from dpucsi.errors import OutOfRangeError
from dpucsi.model import HostFunction

FIRST_BUS = 0x3B
FUNCTIONS_PER_PORT = 8  # physical functions, each with a bus of its own for its virtual ones


def pci_address(function: HostFunction) -> str:
    """port P, pf F, vf V is at bus 0x3b + 8 P + F, device V / 8, function V % 8: port0-pf0-vf2 is 0000:3b:00.2.

    A card with ARI numbers its virtual functions like this (offset 1, stride 1). Raises OutOfRangeError.
    """
    bus = FIRST_BUS + FUNCTIONS_PER_PORT * function.port + function.pf
    if function.pf >= FUNCTIONS_PER_PORT or bus > 0xFF or function.vf > 0xFF:
        raise OutOfRangeError(f"the emulated card has no function {function}: at most pf 7 and vf 255, port 24")
    return f"0000:{bus:02x}:{function.vf // 8:02x}.{function.vf % 8}"
