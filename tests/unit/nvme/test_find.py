import os
import stat
from dataclasses import replace
from uuid import UUID

import pytest

from dpucsi.errors import FailedPreconditionError
from dpucsi.model import HostDisk
from dpucsi.nvme import Disk, Sysfs, find_disk, leftovers, verify
from dpucsi.testing.nvme_tree import NvmeTree

UUID_A = UUID("11111111-2222-5333-8444-555555555555")
UUID_B = UUID("99999999-2222-5333-8444-555555555555")
FUNCTION, OTHER_FUNCTION = "0000:3b:00.0", "0000:3b:00.1"
SIZE = 1 << 30
WANT = HostDisk(UUID_A, UUID_A.hex, 1, SIZE, FUNCTION)


@pytest.fixture
def tree(tmp_path):
    """Two controllers whose numbers are not those of the disks' names."""
    made = NvmeTree(tmp_path)
    made.add_controller("nvme1", FUNCTION)
    made.add_controller("nvme0", OTHER_FUNCTION)
    return made


def add(tree, name="nvme0n1", *, controllers=("nvme1",), multipath=True, **other):
    values = {"uuid": UUID_A, "nguid": UUID_A.hex, "nsid": 1, "size_bytes": SIZE, "dev": (259, 7), "node": False}
    tree.add_disk(name, controllers=controllers, multipath=multipath, **(values | other))


def found(tree, want=WANT) -> Disk:
    disk = find_disk(Sysfs(tree.sys), want)
    assert disk is not None, f"no disk {want.uuid}"
    return disk


@pytest.mark.parametrize("multipath", [True, False])
def test_found_with_its_controller(tree, multipath):
    add(tree, multipath=multipath)
    disk = found(tree)
    assert (disk.name, disk.dev, disk.nsid, disk.size_bytes) == ("nvme0n1", (259, 7), 1, SIZE)
    assert disk.pci_addresses == (FUNCTION,)
    assert [part.name for part in disk.controllers] == ["nvme1"]
    assert disk.controllers[0].driver == "nvme"


def test_hidden_paths_are_no_disks(tree):
    add(tree)
    assert [disk.name for disk in Sysfs(tree.sys).disks()] == ["nvme0n1"]


def test_two_paths_are_one_disk(tree):
    add(tree, controllers=("nvme0", "nvme1"))
    assert set(found(tree).pci_addresses) == {FUNCTION, OTHER_FUNCTION}


def test_the_number_behind_n_is_not_the_nsid(tree):
    add(tree, "nvme0n1", nsid=7)
    assert found(tree, replace(WANT, nsid=7)).nsid == 7


def test_absent(tree):
    add(tree, uuid=UUID_B, nguid=UUID_B.hex)
    assert find_disk(Sysfs(tree.sys), WANT) is None


def test_by_nguid_where_there_is_no_uuid(tree):
    add(tree, uuid=None)
    assert found(tree).name == "nvme0n1"


def test_a_controller_that_goes_away_shows_no_disk(tree):
    add(tree)
    (tree.sys / "class/nvme/nvme1/state").write_text("deleting\n")
    assert find_disk(Sysfs(tree.sys), WANT) is None


@pytest.mark.parametrize(
    ("shown", "wanted", "words"),
    [
        ({"nguid": UUID_B.hex}, {}, "nguid"),
        ({"uuid": UUID_B}, {}, "uuid 99999999"),
        ({"nsid": 2}, {}, "nsid 2 instead of 1"),
        ({"size_bytes": SIZE - 512}, {}, "at least 1073741824"),
        ({"size_bytes": 0}, {"size_bytes": 0}, "0 bytes"),
        ({"controllers": ("nvme0",)}, {}, "0000:3b:00.1 instead of 0000:3b:00.0"),
        ({"controllers": ("nvme0",), "multipath": False}, {}, "PCI address"),
    ],
)
def test_a_contradiction_is_never_used(tree, shown, wanted, words):
    add(tree, **shown)
    with pytest.raises(FailedPreconditionError, match=words):
        find_disk(Sysfs(tree.sys), replace(WANT, **wanted))


def test_two_disks_with_one_uuid(tree):
    add(tree)
    add(tree, "nvme5n1", nsid=2)
    with pytest.raises(FailedPreconditionError, match="2 disks claim"):
        find_disk(Sysfs(tree.sys), WANT)


def test_larger_than_promised_is_fine(tree):
    add(tree, size_bytes=SIZE * 2)
    assert find_disk(Sysfs(tree.sys), WANT)


def test_a_mark_not_promised_is_not_asked_for(tree):
    add(tree)
    assert find_disk(Sysfs(tree.sys), HostDisk(UUID_A, "", 0, 0, ""))


def test_leftovers_count_hidden_paths(tree):
    add(tree)
    assert leftovers(Sysfs(tree.sys), WANT) == ["nvme0c1n1", "nvme0n1"]
    tree.remove_disk("nvme0n1")
    assert leftovers(Sysfs(tree.sys), WANT) == []


def test_no_tree_at_all(tmp_path):
    assert Sysfs(tmp_path / "none").disks() == [] and Sysfs(tmp_path / "none").controllers() == {}


@pytest.mark.parametrize("attribute", ["dev", "nsid", "size"])
def test_a_disk_half_gone_is_not_there(tree, attribute):
    add(tree)
    (tree.sys / "block/nvme0n1" / attribute).unlink()
    assert find_disk(Sysfs(tree.sys), WANT) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes device nodes")
class TestNode:
    def test_right(self, tree):
        add(tree, node=True)
        assert verify(Sysfs(tree.sys), tree.dev / "nvme0n1", WANT).dev == (259, 7)

    def test_stale(self, tree):
        add(tree)
        os.mknod(tree.dev / "nvme0n1", stat.S_IFBLK | 0o600, os.makedev(259, 8))
        with pytest.raises(FailedPreconditionError, match=r"259:8 while .* 259:7"):
            verify(Sysfs(tree.sys), tree.dev / "nvme0n1", WANT)

    def test_plain_file_in_its_place(self, tree):
        add(tree)
        (tree.dev / "nvme0n1").write_bytes(b"")
        with pytest.raises(FailedPreconditionError, match="not a block device"):
            verify(Sysfs(tree.sys), tree.dev / "nvme0n1", WANT)

    def test_a_link_is_not_followed(self, tree):
        add(tree, node=True)
        (tree.dev / "nvme0n1").rename(tree.dev / "elsewhere")
        (tree.dev / "nvme0n1").symlink_to(tree.dev / "elsewhere")
        with pytest.raises(FailedPreconditionError, match="not a block device"):
            verify(Sysfs(tree.sys), tree.dev / "nvme0n1", WANT)

    def test_another_name_now(self, tree):
        add(tree, node=True)
        with pytest.raises(FailedPreconditionError, match="is nvme0n1 now"):
            verify(Sysfs(tree.sys), tree.dev / "nvme0n2", WANT)

    def test_gone(self, tree):
        add(tree, node=True)
        tree.remove_disk("nvme0n1")
        with pytest.raises(FailedPreconditionError, match="not there any more"):
            verify(Sysfs(tree.sys), tree.dev / "nvme0n1", WANT)
