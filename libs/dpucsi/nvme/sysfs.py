"""Reads what the kernel knows about NVMe controllers and namespaces.

Shape of the tree (Linux 5.15 to 6.12, native multipath on or off):

- class/nvme/nvmeY: a controller, with `address`, `transport`, `subsysnqn`, `state`; `device/driver` names its driver.
- block/nvmeXnZ: a disk. Its real folder lies under its controller, or, with native multipath, under
  nvme-subsystem/nvme-subsysX, which may have several controllers.
- block/nvmeXcYnZ: the hidden path of such a disk through controller nvmeY. Its folder lies under that controller and it
  shows the same uuid, nguid and nsid, which is what joins disk and controller: the X in a disk's name is the
  subsystem's number, not a controller's, and Z is not the nsid.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

ATTRIBUTE_MAX = 4096
SECTOR = 512  # `size` counts these, whatever the disk's own block size; Documentation/ABI/stable/sysfs-block
GONE_STATES = frozenset({"deleting", "deleting (no IO)", "dead"})  # drivers/nvme/host/core.c, nvme_sysfs_show_state

_DISK = re.compile(r"nvme\d+n\d+")
_HIDDEN = re.compile(r"nvme(?P<group>\d+)c(?P<controller>\d+)n(?P<number>\d+)")
_CONTROLLER = re.compile(r"nvme\d+")


@dataclass(frozen=True)
class NvmeController:
    """One controller. `address` is the PCI address where `transport` is pcie; `driver` is "" when none is bound."""

    name: str
    address: str
    transport: str
    subsysnqn: str
    state: str
    driver: str


@dataclass(frozen=True)
class Disk:
    """One namespace as the kernel shows it: `dev` (major, minor), `uuid` None and `nguid` "" where it has none."""

    name: str
    dev: tuple[int, int]
    uuid: UUID | None
    nguid: str
    nsid: int
    size_bytes: int
    read_only: bool
    controllers: tuple[NvmeController, ...]

    @property
    def pci_addresses(self) -> tuple[str, ...]:
        """PCI addresses under which this disk can be reached."""
        return tuple(part.address.lower() for part in self.controllers if part.transport == "pcie")

    def __str__(self) -> str:
        where = ", ".join(f"{part.name} at {part.address}" for part in self.controllers) or "no controller"
        return (
            f"{self.name} (uuid {self.uuid}, nguid {self.nguid or 'none'}, nsid {self.nsid}, {self.size_bytes} bytes, "
            f"{where})"
        )


class Sysfs:
    """The tree at `root`. Reading it costs no I/O on any disk, so it never hangs on a dead one."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self.root = root

    @property
    def is_kernel(self) -> bool:
        """The real one, whose changes the kernel announces by uevents."""
        return self.root == Path("/sys")

    def controllers(self) -> dict[str, NvmeController]:
        """All controllers by name. One that goes away while it is read is left out."""
        found = {}
        for folder in _entries(self.root / "class/nvme"):
            if _CONTROLLER.fullmatch(folder.name):
                found[folder.name] = NvmeController(
                    name=folder.name,
                    address=_text(folder / "address"),
                    transport=_text(folder / "transport"),
                    subsysnqn=_text(folder / "subsysnqn"),
                    state=_text(folder / "state"),
                    driver=_driver(folder / "device"),
                )
        return found

    def disks(self, alike: Callable[[UUID | None, str], bool] = lambda uuid, nguid: True) -> list[Disk]:
        """Visible namespaces in the order of their names, those whose (uuid, nguid) is `alike`.

        A Host may have hundreds of disks, and a waiting call looks often: only what is alike is read in full.
        """
        folders = [folder for folder in _entries(self.root / "block") if folder.name.startswith("nvme")]
        chosen = [
            folder
            for folder in folders
            if _DISK.fullmatch(folder.name) and alike(_uuid(folder), _nguid(folder)) and _text(folder / "hidden") != "1"
        ]
        if not chosen:
            return []
        controllers = self.controllers()
        hidden = _hidden_paths(folders)
        disks = [_disk(folder, _paths_of(folder, hidden, controllers)) for folder in chosen]
        return [disk for disk in disks if disk is not None]

    def devices(self) -> list[tuple[str, tuple[int, int], UUID | None]]:
        """(name, device numbers, uuid) of every visible namespace: all of them at little cost."""
        found = []
        for folder in _entries(self.root / "block"):
            dev = _dev(folder) if _DISK.fullmatch(folder.name) else None
            if dev is not None:
                found.append((folder.name, dev, _uuid(folder)))
        return found

    def marks(self) -> dict[str, tuple[UUID | None, str]]:
        """(uuid, nguid) of every NVMe block device by name, hidden paths too: what has to be gone after a detach."""
        return {
            folder.name: (_uuid(folder), _nguid(folder))
            for folder in _entries(self.root / "block")
            if _DISK.fullmatch(folder.name) or _HIDDEN.fullmatch(folder.name)
        }

    def pci_function(self, address: str) -> Path:
        """The folder of one PCI function, whether it exists or not."""
        return self.root / "bus/pci/devices" / address.lower()

    def dev_of(self, name: str) -> tuple[int, int] | None:
        """(major, minor) of one block device, None when it is not there."""
        return _dev(self.root / "block" / name)


def _paths_of(
    folder: Path, hidden: dict[str, list[tuple[str, Path]]], controllers: dict[str, NvmeController]
) -> tuple[NvmeController, ...]:
    parent = folder.resolve().parent.name
    if parent in controllers:
        return (controllers[parent],)
    return tuple(
        controllers[controller]
        for controller, path in hidden.get(folder.name, [])
        if controller in controllers and _marks(path) == _marks(folder)
    )


def _hidden_paths(folders: list[Path]) -> dict[str, list[tuple[str, Path]]]:
    """(controller, folder) of every hidden path, by the name of the disk that it leads to."""
    paths: dict[str, list[tuple[str, Path]]] = {}
    for folder in folders:
        name = _HIDDEN.fullmatch(folder.name)
        if name:
            disk = f"nvme{name['group']}n{name['number']}"
            paths.setdefault(disk, []).append((f"nvme{name['controller']}", folder))
    return paths


def _marks(folder: Path) -> tuple[str, UUID | None, str]:
    """What a disk and its paths have in common."""
    return _text(folder / "nsid"), _uuid(folder), _nguid(folder)


def _disk(folder: Path, controllers: tuple[NvmeController, ...]) -> Disk | None:
    dev, nsid, size = _dev(folder), _number(folder / "nsid"), _number(folder / "size")
    if dev is None or nsid is None or size is None:
        return None  # it is going away, or not complete yet
    return Disk(
        name=folder.name,
        dev=dev,
        uuid=_uuid(folder),
        nguid=_nguid(folder),
        nsid=nsid,
        size_bytes=size * SECTOR,
        read_only=_text(folder / "ro") == "1",
        controllers=controllers,
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    """The attribute, "" where it is absent: attributes come and go with their device.

    One read has all of it (Documentation/filesystems/sysfs.rst: at most a page), and costs a quarter of read_text().
    """
    try:
        attribute = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(attribute, ATTRIBUTE_MAX).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(attribute)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _dev(folder: Path) -> tuple[int, int] | None:
    major, colon, minor = _text(folder / "dev").partition(":")
    return (int(major), int(minor)) if colon and major.isdecimal() and minor.isdecimal() else None


def _uuid(folder: Path) -> UUID | None:
    """The kernel answers with the NGUID where a namespace has no UUID, for old users (nvme `uuid_show`)."""
    text = _text(folder / "uuid")
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid if uuid.int else None


def _nguid(folder: Path) -> str:
    """32 lower-case hex digits; the kernel prints them in groups, as if they were a UUID."""
    digits = _text(folder / "nguid").replace("-", "").lower()
    return digits if re.fullmatch(r"[0-9a-f]{32}", digits) and digits.strip("0") else ""


def _driver(device: Path) -> str:
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""
