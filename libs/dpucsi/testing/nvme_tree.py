"""A folder that looks like /sys and /dev of a Host with NVMe disks, for tests: what `dpucsi.nvme` reads, no more."""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID


@dataclass(frozen=True)
class NvmeTree:
    """Under `root`: sys/ and dev/. Names follow the kernel's: nvmeXnZ a disk, nvmeXcYnZ a hidden path of it."""

    root: Path

    def __post_init__(self) -> None:
        for folder in ("sys/class/nvme", "sys/block", "sys/bus/pci/devices", "sys/bus/pci/drivers/nvme", "dev"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def sys(self) -> Path:
        """What stands for /sys."""
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        """What stands for /dev."""
        return self.root / "dev"

    def add_function(self, address: str, driver: str = "nvme") -> Path:
        """A PCI function, bound to `driver` unless that is ""."""
        function = self.sys / "devices/pci0000:00" / address
        function.mkdir(parents=True, exist_ok=True)
        (function / "driver_override").write_text("(null)\n")
        link(self.sys / "bus/pci/devices" / address, function)
        if driver:
            (self.sys / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            link(function / "driver", self.sys / "bus/pci/drivers" / driver)
        return function

    def add_controller(self, name: str, address: str, *, state: str = "live") -> None:
        """A controller on the PCI function `address`."""
        function = self.add_function(address)
        folder = function / "nvme" / name
        attributes(folder, address=address, transport="pcie", state=state, subsysnqn="nqn.2024-01.io.dpucsi:host:test")
        link(folder / "device", function)
        link(self.sys / "class/nvme" / name, folder)

    def add_disk(
        self,
        name: str,
        *,
        controllers: tuple[str, ...],
        uuid: UUID | None,
        nguid: str,
        nsid: int,
        size_bytes: int,
        dev: tuple[int, int],
        multipath: bool = False,
        node: bool = True,
    ) -> None:
        """A disk of one controller, or, with `multipath`, of several through hidden paths."""
        marks = {
            "uuid": str(uuid) if uuid else "",
            "nguid": str(UUID(nguid)) if nguid else "",  # the kernel prints it in groups
            "nsid": str(nsid),
            "size": str(size_bytes // 512),
            "ro": "0",
        }
        group, _, number = name.removeprefix("nvme").partition("n")
        folder = (self.sys / "class/nvme" / controllers[0]).resolve() / name
        if multipath:
            for controller in controllers:
                path = f"nvme{group}c{controller.removeprefix('nvme')}n{number}"
                hidden = (self.sys / "class/nvme" / controller).resolve() / path
                attributes(hidden, hidden="1", **marks)
                link(self.sys / "block" / path, hidden)
            folder = self.sys / f"devices/virtual/nvme-subsystem/nvme-subsys{group}" / name
        attributes(folder, hidden="0", dev=f"{dev[0]}:{dev[1]}", **marks)
        if node:
            os.mknod(self.dev / name, stat.S_IFBLK | 0o600, os.makedev(*dev))
        link(self.sys / "block" / name, folder)

    def remove_disk(self, name: str) -> None:
        """The disk, its node and its hidden paths go."""
        group, _, number = name.removeprefix("nvme").partition("n")
        for entry in [self.sys / "block" / name, *(self.sys / "block").glob(f"nvme{group}c*n{number}")]:
            folder = entry.resolve()
            entry.unlink()
            shutil.rmtree(folder)
        (self.dev / name).unlink(missing_ok=True)

    def set(self, name: str, attribute: str, text: str) -> None:
        """Changes one attribute of a disk."""
        (self.sys / "block" / name / attribute).write_text(text + "\n")


def attributes(folder: Path, **values: str) -> None:
    """Files of one line each, as sysfs has them; "" makes none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        if value:
            (folder / name).write_text(value + "\n")


def link(path: Path, target: Path) -> None:
    """A symbolic link that may be there already."""
    if not path.is_symlink():
        path.symlink_to(target)
