"""The Host's sysfs tree as the Linux kernel shapes it, with native NVMe multipath, and the device nodes.

Everything is built aside and renamed into its place; the link in block/ comes last and goes first, so a reader never
sees half a namespace.
"""

import itertools
import os
import shutil
import stat
from pathlib import Path
from uuid import UUID

from emulated_card.shown import ShownController, ShownNamespace

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
        """Removes everything: nothing that an earlier process showed is alive."""
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
        self.rescan.touch()

    def add_controller(self, controller: ShownController) -> None:
        """The PCI function, bound to the nvme driver, and its controller, live."""
        pci, nvme, group = self._pci(controller), self._nvme(controller), self._group(controller)
        aside = self._build({**PCI_IDS, "class": PCI_CLASS, "driver_override": "(null)", "enable": "1"})
        for control in ("remove", "reset"):
            (aside / control).touch()
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

    def remove_controller(self, controller: ShownController) -> None:
        """Its namespaces must be gone already."""
        pci, nvme, group = self._pci(controller), self._nvme(controller), self._group(controller)
        (self._sys / "class/nvme" / nvme.name).unlink(missing_ok=True)
        (self._sys / "class/nvme-subsystem" / group.name).unlink(missing_ok=True)
        (self._sys / "bus/pci/drivers" / DRIVER / pci.name).unlink(missing_ok=True)
        (self._sys / "bus/pci/devices" / pci.name).unlink(missing_ok=True)
        self._drop(group)
        self._drop(pci)

    def add_namespace(self, controller: ShownController, namespace: ShownNamespace, dev: int) -> None:
        """The disk, which is the device `dev` (as in st_rdev), and its hidden path through the controller."""
        disk, hidden = self._disk(controller, namespace), self._hidden(controller, namespace)
        marks = _identity(namespace) | {
            "nsid": str(namespace.nsid),
            "size": str(_sectors(namespace)),
            "ro": str(int(namespace.is_read_only)),
        }
        aside = self._build(marks | {"hidden": "1", "ana_state": "optimized"})
        (aside / "device").symlink_to("..")
        self._place(aside, hidden)
        aside = self._build(marks | {"hidden": "0", "removable": "0", "dev": f"{os.major(dev)}:{os.minor(dev)}"})
        (aside / "device").symlink_to("..")
        (aside / "queue").mkdir()
        block_size = str(namespace.block_size)
        _write(aside / "queue", {"logical_block_size": block_size, "physical_block_size": block_size})
        self._place(aside, disk)
        self._make_node(disk.name, dev)
        for folder in (hidden, disk):
            _link(self._sys / "class/block" / folder.name, folder)
            _link(self._sys / "block" / folder.name, folder)

    def resize_namespace(self, controller: ShownController, namespace: ShownNamespace) -> None:
        """The size, in place of the old one."""
        for folder in (self._hidden(controller, namespace), self._disk(controller, namespace)):
            aside = self._build({"size": str(_sectors(namespace))})
            (aside / "size").replace(folder / "size")
            aside.rmdir()

    def remove_namespace(self, controller: ShownController, namespace: ShownNamespace) -> None:
        """Fine when it was never complete."""
        disk, hidden = self._disk(controller, namespace), self._hidden(controller, namespace)
        for folder in (disk, hidden):
            (self._sys / "block" / folder.name).unlink(missing_ok=True)
            (self._sys / "class/block" / folder.name).unlink(missing_ok=True)
        (self._dev / disk.name).unlink(missing_ok=True)
        self._drop(disk)
        self._drop(hidden)

    def control(self, controller: ShownController, name: str) -> Path:
        """The file that whoever wants the PCI function removed or reset writes a 1 to: `remove`, `reset`."""
        return self._pci(controller) / name

    @property
    def rescan(self) -> Path:
        """The file that whoever wants the PCI bus looked at again writes a 1 to."""
        return self._sys / "bus/pci/rescan"

    def _pci(self, controller: ShownController) -> Path:
        return self._sys / "devices" / f"pci{controller.address[:7]}" / controller.address

    def _nvme(self, controller: ShownController) -> Path:
        return self._pci(controller) / "nvme" / f"nvme{controller.number}"

    def _group(self, controller: ShownController) -> Path:
        return self._sys / "devices/virtual/nvme-subsystem" / f"nvme-subsys{controller.subsystem}"

    def _disk(self, controller: ShownController, namespace: ShownNamespace) -> Path:
        return self._group(controller) / f"nvme{controller.subsystem}n{namespace.instance}"

    def _hidden(self, controller: ShownController, namespace: ShownNamespace) -> Path:
        return self._nvme(controller) / f"nvme{controller.subsystem}c{controller.number}n{namespace.instance}"

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


def _identity(namespace: ShownNamespace) -> dict[str, str]:
    """As the kernel shows it: without a UUID the NGUID stands in for it (drivers/nvme/host/sysfs.c, uuid_show)."""
    nguid = {"nguid": str(UUID(namespace.nguid))} if namespace.nguid else {}
    if namespace.uuid:
        return nguid | {"uuid": namespace.uuid, "wwid": f"uuid.{namespace.uuid}"}
    return nguid | ({"uuid": nguid["nguid"], "wwid": f"eui.{namespace.nguid}"} if nguid else {})


def _sectors(namespace: ShownNamespace) -> int:
    return namespace.num_blocks * namespace.block_size // SECTOR


def _write(folder: Path, attributes: dict[str, str]) -> None:
    for name, text in attributes.items():
        (folder / name).write_text(f"{text}\n")


def _relative(target: Path, link_folder: Path) -> str:
    return os.path.relpath(target, link_folder)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(_relative(target, link.parent))
