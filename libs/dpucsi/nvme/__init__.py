"""The Host's view of its NVMe disks: the kernel's own tree, never /dev names, udev links, models or order."""

from dpucsi.nvme.find import find_disk, leftovers, verify
from dpucsi.nvme.sysfs import Disk, NvmeController, Sysfs

__all__ = ["Disk", "NvmeController", "Sysfs", "find_disk", "leftovers", "verify"]
