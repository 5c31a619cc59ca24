import pytest

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.csi.capabilities import Access, parse_capabilities, parse_capability
from dpucsi.errors import InvalidArgumentError

Capability = csi_pb2.VolumeCapability
Modes = Capability.AccessMode


def mount(fs_type="", flags=(), mode=Modes.SINGLE_NODE_WRITER, group=""):
    return Capability(
        mount=Capability.MountVolume(fs_type=fs_type, mount_flags=flags, volume_mount_group=group),
        access_mode=Modes(mode=mode),
    )


def block(mode=Modes.SINGLE_NODE_WRITER):
    return Capability(block=Capability.BlockVolume(), access_mode=Modes(mode=mode))


def test_an_empty_fs_type_is_ext4():
    assert parse_capability(mount()) == Access(Modes.SINGLE_NODE_WRITER, "ext4")


def test_block_has_no_fs_type():
    access = parse_capability(block(Modes.MULTI_NODE_MULTI_WRITER))
    assert access.block and access.multi_node and not access.read_only


@pytest.mark.parametrize(
    "flag",
    [
        "noatime",
        "ro",
        "discard",
        "commit=30",
        "data=ordered",
        "errors=remount-ro",
        "logbsize=256k",
        "nouuid",
        'context="system_u:object_r:container_file_t:s0:c1,c2"',
        "context=system_u:object_r:t:s0",
    ],
)
def test_a_file_systems_own_options_pass(flag):
    assert parse_capability(mount(flags=[flag])).mount_flags == (flag,)


@pytest.mark.parametrize(
    "flag",
    [
        "",
        "-o",
        "--bind",
        "a,b",
        "noatime,bind",
        "a b",
        "a=b=c",
        "a=$(x)",
        "a\n",
        "bind",
        "remount",
        "loop",
        "loop=/dev/x",
        "offset=1",
        "logdev=/dev/sda",
        "journal_path=/x",
        "x-mount.mkdir",
        "X-mount.owner=1",
        "rshared",
        "ä",
        "context=a,bind",
        'context="a",bind',
    ],
)
def test_anything_else_is_refused_and_not_repeated(flag):
    with pytest.raises(InvalidArgumentError) as refused:
        parse_capability(mount(flags=["noatime", flag]))
    assert "mount_flags[1]" in str(refused.value)
    assert "/dev/" not in str(refused.value)


@pytest.mark.parametrize("mode", [Modes.MULTI_NODE_MULTI_WRITER, Modes.MULTI_NODE_SINGLE_WRITER])
def test_no_file_system_for_several_writers_or_writer_and_readers(mode):
    with pytest.raises(InvalidArgumentError, match="raw block only"):
        parse_capability(mount(mode=mode))


@pytest.mark.parametrize(
    "wrong",
    [
        Capability(),
        Capability(access_mode=Modes(mode=Modes.SINGLE_NODE_WRITER)),
        mount(mode=Modes.UNKNOWN),
        mount(mode=99),
        mount("btrfs"),
        mount("EXT4"),
        mount(group="1000"),
        mount(flags=["ro", "rw"]),
        mount(flags=["rw"], mode=Modes.SINGLE_NODE_READER_ONLY),
        mount(flags=["a" * 5000]),
    ],
)
def test_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        parse_capability(wrong)


@pytest.mark.parametrize("mode", [Modes.SINGLE_NODE_READER_ONLY, Modes.MULTI_NODE_READER_ONLY])
def test_reader_modes_are_read_only(mode):
    assert parse_capability(mount(mode=mode)).read_only
    assert parse_capability(block(mode)).read_only


def test_the_flag_ro_is_read_only_too():
    assert parse_capability(mount(flags=["ro"])).read_only


def test_no_capability_at_all():
    with pytest.raises(InvalidArgumentError, match="at least one"):
        parse_capabilities([])
