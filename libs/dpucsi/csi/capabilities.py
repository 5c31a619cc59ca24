"""One VolumeCapability, validated: what a CO may ask of a volume, and what we refuse, in one place for both sides."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.errors import InvalidArgumentError

FS_TYPES = ("ext4", "xfs")
DEFAULT_FS_TYPE = FS_TYPES[0]
MOUNT_FLAGS_MAX = 4096  # bytes in all; CSI spec, MountVolume.mount_flags

Mode = csi_pb2.VolumeCapability.AccessMode.Mode
_MODES = csi_pb2.VolumeCapability.AccessMode
READER_ONLY = frozenset({_MODES.SINGLE_NODE_READER_ONLY, _MODES.MULTI_NODE_READER_ONLY})
MULTI_NODE = frozenset({_MODES.MULTI_NODE_READER_ONLY, _MODES.MULTI_NODE_SINGLE_WRITER, _MODES.MULTI_NODE_MULTI_WRITER})
# A disk file system written by one node corrupts under any other that looks at it, so these are for raw block only.
_BLOCK_ONLY = frozenset({_MODES.MULTI_NODE_SINGLE_WRITER, _MODES.MULTI_NODE_MULTI_WRITER})

# One flag, so no comma, and nothing that a command could read as an option of its own. The SELinux label is the one
# value that may hold commas and quotes (kubelet's mount with context="…:s0:c1,c2").
_FLAG = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.:+%@]*(=[-A-Za-z0-9_.:/+%@]*)?")
_SELINUX = re.compile(r'(context|fscontext|defcontext|rootcontext)=("[-A-Za-z0-9_.:,]+"|[-A-Za-z0-9_.:]+)')
# Flags that would change *what* is mounted, or run another program: never the CO's to say.
# fmt: off
_REFUSED_FLAGS = frozenset({
    "bind", "rbind", "move", "remount", "loop", "offset", "sizelimit", "encryption", "helper", "uhelper", "shared",
    "rshared", "private", "rprivate", "slave", "rslave", "unbindable", "runbindable", "journal_dev",
    "journal_path", "logdev", "rtdev", "user", "users", "owner", "group",
})
# fmt: on


@dataclass(frozen=True)
class Access:
    """How a volume is used. `fs_type` is "" for raw block; `mount_flags` keep the CO's order.

    `mount_flags` may hold what the CO wants kept private (CSI spec): they are never logged, nor put in an error.
    """

    mode: Mode.ValueType
    fs_type: str = ""
    mount_flags: tuple[str, ...] = ()

    @property
    def block(self) -> bool:
        """Raw block rather than a file system."""
        return not self.fs_type

    @property
    def read_only(self) -> bool:
        """Nobody writes, by access mode or by the flag `ro`."""
        return self.mode in READER_ONLY or "ro" in self.mount_flags

    @property
    def multi_node(self) -> bool:
        """More than one node may have it at the same time."""
        return self.mode in MULTI_NODE

    @property
    def mode_name(self) -> str:
        """The access mode in CSI's spelling."""
        return _MODES.Mode.Name(self.mode)

    def __str__(self) -> str:
        return f"{self.fs_type or 'raw block'} {self.mode_name}"


def parse_capability(capability: csi_pb2.VolumeCapability) -> Access:
    """Raises InvalidArgumentError that names the field and what it may be. Pass it only where the field is set."""
    mode = capability.access_mode.mode
    if mode == _MODES.UNKNOWN or mode not in _MODES.Mode.values():
        raise InvalidArgumentError(
            f"volume_capability.access_mode.mode {mode} is none of the modes of CSI; "
            "give one, for example SINGLE_NODE_WRITER"
        )
    kind = capability.WhichOneof("access_type")
    if kind == "block":
        return Access(mode)
    if kind != "mount":
        raise InvalidArgumentError("volume_capability has no access_type; give block or mount")
    if mode in _BLOCK_ONLY:
        raise InvalidArgumentError(
            f"volume_capability asks for a file system with {_MODES.Mode.Name(mode)}, which would corrupt it: "
            "several nodes may share a volume for writing as raw block only"
        )
    if capability.mount.volume_mount_group:
        raise InvalidArgumentError(
            "volume_capability.mount.volume_mount_group is set, but this plugin does not offer VOLUME_MOUNT_GROUP; "
            "leave it empty and let the CO set the group"
        )
    access = Access(mode, _fs_type(capability.mount.fs_type), _mount_flags(capability.mount.mount_flags))
    if mode in READER_ONLY and "rw" in access.mount_flags:
        raise InvalidArgumentError(f"volume_capability has the mount flag rw with {access.mode_name}; drop one of them")
    return access


def parse_capabilities(capabilities: Iterable[csi_pb2.VolumeCapability]) -> tuple[Access, ...]:
    """At least one of them; every one must be valid, as CreateVolume promises all of them at once."""
    parsed = tuple(parse_capability(capability) for capability in capabilities)
    if not parsed:
        raise InvalidArgumentError("volume_capabilities is empty; give at least one")
    return parsed


def _fs_type(text: str) -> str:
    if text and text not in FS_TYPES:
        raise InvalidArgumentError(
            f"volume_capability.mount.fs_type {text[:40]!r} is none of {', '.join(FS_TYPES)}; leave it empty for "
            f"{DEFAULT_FS_TYPE}"
        )
    return text or DEFAULT_FS_TYPE


def _mount_flags(flags: Iterable[str]) -> tuple[str, ...]:
    kept = tuple(flags)
    if sum(len(flag.encode()) for flag in kept) > MOUNT_FLAGS_MAX:
        raise InvalidArgumentError(f"volume_capability.mount.mount_flags are longer than {MOUNT_FLAGS_MAX} bytes")
    for position, flag in enumerate(kept):
        name = flag.partition("=")[0]
        if not (_FLAG.fullmatch(flag) or _SELINUX.fullmatch(flag)):
            raise InvalidArgumentError(
                f"volume_capability.mount.mount_flags[{position}] is not one mount option: letters, digits, '_', "
                "and at most one value behind '='; give each option as an element of its own"
            )
        if name in _REFUSED_FLAGS or name.lower().startswith("x-"):
            raise InvalidArgumentError(
                f"volume_capability.mount.mount_flags[{position}] is {name!r}, which changes what is mounted, or who "
                "may; only options of the file system itself are accepted"
            )
    if "ro" in kept and "rw" in kept:
        raise InvalidArgumentError("volume_capability.mount.mount_flags has both ro and rw; drop one of them")
    return kept
