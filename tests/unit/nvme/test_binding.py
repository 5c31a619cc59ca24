"""Driver binding against a folder that reacts to writes as the kernel does."""

import pytest

from dpucsi.errors import FailedPreconditionError
from dpucsi.nvme import Sysfs
from dpucsi.nvme.binding import bound_driver, ensure_bound, ensure_unbound, write_attribute
from dpucsi.testing.nvme_tree import NvmeTree, link

ADDRESS = "0000:3b:00.1"


class Kernel:
    """Takes writes to sysfs; `broken_at` breaks the process before its n-th write."""

    def __init__(self, tree, broken_at=0):
        self.tree, self.writes, self.broken_at = tree, [], broken_at
        self.function = tree.add_function(ADDRESS, "")
        self.driver = tree.sys / "bus/pci/drivers/nvme"
        (self.driver / "unbind").touch()

    def write(self, path, text):
        self.writes.append(f"{path.name}={text.strip()}")
        if len(self.writes) == self.broken_at:
            raise KeyboardInterrupt
        if path.name == "driver_override":
            path.write_text(text if text.strip() else "(null)\n")
        elif path.name == "bind":
            if (self.function / "driver").is_symlink():
                raise OSError(16, "Device or resource busy")
            if self.override != "nvme":
                raise OSError(19, "No such device")
            link(self.function / "driver", self.driver)
        else:
            (self.function / "driver").unlink()

    @property
    def override(self):
        return (self.function / "driver_override").read_text().strip()


@pytest.fixture
def kernel(tmp_path):
    return Kernel(NvmeTree(tmp_path))


def test_bound_and_the_override_cleaned(kernel):
    sysfs = Sysfs(kernel.tree.sys)
    assert ensure_bound(sysfs, ADDRESS, kernel.write)
    assert bound_driver(sysfs, ADDRESS) == "nvme" and kernel.override == "(null)"
    assert kernel.writes == ["driver_override=nvme", f"bind={ADDRESS}", "driver_override="]


def test_bound_already_writes_nothing(kernel):
    link(kernel.function / "driver", kernel.driver)
    assert ensure_bound(Sysfs(kernel.tree.sys), ADDRESS, kernel.write)
    assert kernel.writes == []


@pytest.mark.parametrize("broken_at", [1, 2, 3])
def test_cut_at_every_write_and_done_again(tmp_path, broken_at):
    kernel = Kernel(NvmeTree(tmp_path), broken_at)
    sysfs = Sysfs(kernel.tree.sys)
    with pytest.raises(KeyboardInterrupt):
        ensure_bound(sysfs, ADDRESS, kernel.write)
    assert ensure_bound(sysfs, ADDRESS, kernel.write)
    assert kernel.override == "(null)"


def test_not_on_the_bus_yet(tmp_path):
    assert not ensure_bound(Sysfs(NvmeTree(tmp_path).sys), ADDRESS)


def test_the_kernel_refuses_and_the_override_is_cleaned_nevertheless(kernel):
    def refuse(path, text):
        if path.name == "bind":
            raise OSError(5, "Input/output error")
        kernel.write(path, text)

    assert not ensure_bound(Sysfs(kernel.tree.sys), ADDRESS, refuse)
    assert kernel.override == "(null)"


def test_another_driver_is_left_alone(kernel):
    kernel.tree.add_function(ADDRESS, "vfio-pci")
    with pytest.raises(FailedPreconditionError, match="vfio-pci"):
        ensure_bound(Sysfs(kernel.tree.sys), ADDRESS, kernel.write)
    ensure_unbound(Sysfs(kernel.tree.sys), ADDRESS, kernel.write)
    assert kernel.writes == []


def test_an_attribute_that_may_only_be_written(tmp_path):
    attribute = tmp_path / "unbind"
    attribute.touch(mode=0o200)
    write_attribute(attribute, ADDRESS)
    assert attribute.read_text() == ADDRESS
    with pytest.raises(FileNotFoundError):
        write_attribute(tmp_path / "none", ADDRESS)


def test_unbound_twice(kernel):
    sysfs = Sysfs(kernel.tree.sys)
    ensure_bound(sysfs, ADDRESS, kernel.write)
    kernel.writes.clear()
    ensure_unbound(sysfs, ADDRESS, kernel.write)
    ensure_unbound(sysfs, ADDRESS, kernel.write)
    assert kernel.writes == [f"unbind={ADDRESS}"] and bound_driver(sysfs, ADDRESS) == ""
