"""The Host's sysfs tree as the Linux kernel shapes it, with native NVMe multipath, and the device nodes.

Everything is built aside and renamed into its place; the link in block/ comes last and goes first, so a reader never
sees half a device.
"""

import itertools
import os
import shutil
import stat
from pathlib import Path
from uuid import UUID

from spdk_emulator.card import loops
from spdk_emulator.card.record import Controller, Device

SECTOR = 512
DRIVER = "nvme"
PCI_IDS = {"vendor": "0x4e58", "device": "0x0001", "subsystem_vendor": "0x4e58", "subsystem_device": "0x0001"}
PCI_CLASS = "0x010802"  # mass storage, non-volatile memory, NVM Express


class HostTree:
    """`root` gets sys/ and dev/."""

    def __init__(self, root: Path) -> None:
        self._sys = root / "sys"
        self._dev = root / "dev"
        self._aside = root / "aside"
        self._count = itertools.count()
        self._make()

    def clear(self) -> None:
        """Removes everything, for a tree of an earlier boot."""
        for folder in (self._sys, self._dev):
            shutil.rmtree(folder, ignore_errors=True)
        self._make()

    def _make(self) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)
        for name in ("block", "class/block", "class/nvme", "class/nvme-subsystem", "bus/pci/devices"):
            (self._sys / name).mkdir(parents=True, exist_ok=True)
        for folder in (self._aside, self._dev, self._sys / "devices/virtual/nvme-subsystem"):
            folder.mkdir(parents=True, exist_ok=True)
        driver = self._sys / "bus/pci/drivers" / DRIVER
        driver.mkdir(parents=True, exist_ok=True)
        for control in ("bind", "unbind", "new_id"):
            (driver / control).touch()

    def add_controller(self, controller: Controller) -> None:
        """The PCI function, bound to the nvme driver, and its controller, live."""
        pci, nvme, group = self._pci(controller), self._nvme(controller), self._group(controller)
        aside = self._build({**PCI_IDS, "class": PCI_CLASS, "driver_override": "(null)", "enable": "1"})
        (aside / "driver").symlink_to(_relative(self._sys / "bus/pci/drivers" / DRIVER, pci))
        inside = aside / "nvme" / nvme.name
        inside.mkdir(parents=True)
        identity = {
            "subsysnqn": controller.subnqn,
            "serial": controller.serial_number.ljust(20),
            "model": controller.model_number.ljust(40),
            "firmware_rev": "26.09".ljust(8),
        }
        _write(
            inside,
            identity
            | {
                "address": controller.address,
                "transport": "pcie",
                "cntlid": str(controller.cntlid),
                "state": "live",
                "cntrltype": "io",
            },
        )
        (inside / "device").symlink_to("../..")
        self._place(aside, pci)
        aside = self._build(identity | {"subsystype": "nvm", "iopolicy": "numa"})
        (aside / nvme.name).symlink_to(_relative(nvme, group))
        self._place(aside, group)
        _link(self._sys / "bus/pci/devices" / pci.name, pci)
        _link(self._sys / "bus/pci/drivers" / DRIVER / pci.name, pci)
        _link(self._sys / "class/nvme-subsystem" / group.name, group)
        _link(self._sys / "class/nvme" / nvme.name, nvme)

    def remove_controller(self, controller: Controller) -> None:
        """Its namespaces must be gone already."""
        pci, nvme, group = self._pci(controller), self._nvme(controller), self._group(controller)
        (self._sys / "class/nvme" / nvme.name).unlink(missing_ok=True)
        (self._sys / "class/nvme-subsystem" / group.name).unlink(missing_ok=True)
        (self._sys / "bus/pci/drivers" / DRIVER / pci.name).unlink(missing_ok=True)
        (self._sys / "bus/pci/devices" / pci.name).unlink(missing_ok=True)
        self._drop(group)
        self._drop(pci)

    def add_namespace(self, controller: Controller, device: Device) -> None:
        """The disk, and its hidden path through the controller."""
        disk, hidden = self._disk(controller, device), self._hidden(controller, device)
        marks = {
            "uuid": device.uuid,
            "nguid": str(UUID(device.nguid)),
            "wwid": f"uuid.{device.uuid}",
            "nsid": str(device.nsid),
            "size": str(_sectors(device)),
            "ro": str(int(device.is_read_only)),
        }
        dev = loops.dev_of(device.loop)
        aside = self._build(marks | {"hidden": "1", "ana_state": "optimized"})
        (aside / "device").symlink_to("..")
        self._place(aside, hidden)
        aside = self._build(marks | {"hidden": "0", "removable": "0", "dev": f"{os.major(dev)}:{os.minor(dev)}"})
        (aside / "device").symlink_to("..")
        (aside / "queue").mkdir()
        block_size = str(device.block_size)
        _write(aside / "queue", {"logical_block_size": block_size, "physical_block_size": block_size})
        self._place(aside, disk)
        self._make_node(disk.name, dev)
        for folder in (hidden, disk):
            _link(self._sys / "class/block" / folder.name, folder)
            _link(self._sys / "block" / folder.name, folder)

    def resize_namespace(self, controller: Controller, device: Device) -> None:
        """The size, in place of the old one."""
        for folder in (self._hidden(controller, device), self._disk(controller, device)):
            aside = self._build({"size": str(_sectors(device))})
            (aside / "size").replace(folder / "size")
            aside.rmdir()

    def remove_namespace(self, controller: Controller, device: Device) -> None:
        """Fine when it is gone, or was never complete."""
        disk, hidden = self._disk(controller, device), self._hidden(controller, device)
        for folder in (disk, hidden):
            (self._sys / "block" / folder.name).unlink(missing_ok=True)
            (self._sys / "class/block" / folder.name).unlink(missing_ok=True)
        (self._dev / disk.name).unlink(missing_ok=True)
        self._drop(disk)
        self._drop(hidden)

    def shows(self, controller: Controller, device: Device) -> bool:
        """Whether the disk is complete in the tree."""
        return (self._sys / "block" / self._disk(controller, device).name / "dev").is_file()

    def _pci(self, controller: Controller) -> Path:
        return self._sys / "devices" / f"pci{controller.address[:7]}" / controller.address

    def _nvme(self, controller: Controller) -> Path:
        return self._pci(controller) / "nvme" / f"nvme{controller.number}"

    def _group(self, controller: Controller) -> Path:
        return self._sys / "devices/virtual/nvme-subsystem" / f"nvme-subsys{controller.subsystem}"

    def _disk(self, controller: Controller, device: Device) -> Path:
        return self._group(controller) / f"nvme{controller.subsystem}n{device.instance}"

    def _hidden(self, controller: Controller, device: Device) -> Path:
        return self._nvme(controller) / f"nvme{controller.subsystem}c{controller.number}n{device.instance}"

    def _make_node(self, name: str, dev: int) -> None:
        aside = self._aside / f"{next(self._count)}"
        os.mknod(aside, stat.S_IFBLK | 0o660, dev)
        aside.replace(self._dev / name)

    def _build(self, attributes: dict[str, str]) -> Path:
        aside = self._aside / f"{next(self._count)}"
        aside.mkdir()
        _write(aside, attributes)
        return aside

    def _place(self, aside: Path, target: Path) -> None:
        self._drop(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(target)

    def _drop(self, folder: Path) -> None:
        if folder.exists():
            aside = self._aside / f"{next(self._count)}"
            folder.rename(aside)
            shutil.rmtree(aside)


def _sectors(device: Device) -> int:
    return device.num_blocks * device.block_size // SECTOR


def _write(folder: Path, attributes: dict[str, str]) -> None:
    for name, text in attributes.items():
        (folder / name).write_text(f"{text}\n")


def _relative(target: Path, link_folder: Path) -> str:
    return os.path.relpath(target, link_folder)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(_relative(target, link.parent))
