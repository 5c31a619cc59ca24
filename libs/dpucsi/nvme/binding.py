"""Binds a PCI function to the nvme driver when nothing has, and lets go of one that is the volume's own.

An interrupted rebind leaves `driver_override` behind and the function unusable for everybody else (longhorn issue
12003), so every step asks what is, and the override is cleaned even by a call that finds everything else done.
"""

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from dpucsi.errors import FailedPreconditionError
from dpucsi.nvme.sysfs import Sysfs

DRIVER = "nvme"
NO_OVERRIDE = ("", "(null)")  # the kernel prints a null pointer

log = structlog.get_logger(__name__)
Write = Callable[[Path, str], object]


def write_attribute(path: Path, text: str) -> None:
    """Writes one sysfs attribute in one call, never making a file; bind and unbind may not even be opened to read."""
    attribute = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(attribute, text.encode())
    finally:
        os.close(attribute)


def bound_driver(sysfs: Sysfs, address: str) -> str:
    """The driver of the function, "" where none is bound or the function is not there."""
    try:
        return (sysfs.pci_function(address) / "driver").readlink().name
    except OSError:
        return ""


def ensure_bound(sysfs: Sysfs, address: str, write: Write = write_attribute) -> bool:
    """Whether the nvme driver has the function now; False too while the function is not on the bus.

    A function that another driver holds (vfio-pci, for a VM) is not ours to take: FailedPreconditionError.
    """
    function = sysfs.pci_function(address)
    if not function.is_dir():
        return False
    driver = bound_driver(sysfs, address)
    if driver not in ("", DRIVER):
        raise FailedPreconditionError(
            f"PCI function {address} is bound to driver {driver}, wanted {DRIVER}; unbind it, or let the DPU "
            "use another function"
        )
    if driver != DRIVER:
        _bind(sysfs, function, write)
    if _override(function) == DRIVER:
        write(function / "driver_override", "\n")
    return bound_driver(sysfs, address) == DRIVER


def _bind(sysfs: Sysfs, function: Path, write: Write) -> None:
    """driver_override first, so that no other driver's wildcard takes the function in between."""
    try:
        if (function / "driver_override").exists():
            write(function / "driver_override", DRIVER)
        write(sysfs.root / "bus/pci/drivers" / DRIVER / "bind", function.name)
        log.info("driver bound", driver=DRIVER, pci_address=function.name)
    except OSError as refused:
        # EBUSY, EEXIST: the kernel's own probe was faster. Anything else shows as a disk that does not come.
        log.info("driver not bound by us", driver=DRIVER, pci_address=function.name, error=str(refused))


def ensure_unbound(sysfs: Sysfs, address: str, write: Write = write_attribute) -> None:
    """Takes the nvme driver off a function, so that the DPU can pull it without a surprise. Fine when none is bound."""
    function = sysfs.pci_function(address)
    if bound_driver(sysfs, address) == DRIVER and (function / "driver/unbind").exists():
        try:
            write(function / "driver/unbind", function.name)
            log.info("driver unbound", driver=DRIVER, pci_address=function.name)
        except OSError as refused:
            raise FailedPreconditionError(
                f"driver {DRIVER} could not be unbound from PCI function {address}: {refused.strerror}; try again"
            ) from refused
    if function.is_dir() and _override(function) == DRIVER:
        write(function / "driver_override", "\n")


def _override(function: Path) -> str:
    try:
        text = (function / "driver_override").read_text().strip()
    except OSError:
        return ""
    return "" if text in NO_OVERRIDE else text
