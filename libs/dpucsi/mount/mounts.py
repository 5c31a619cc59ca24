"""What is mounted where, by the kernel's own list, and the three things we do about it: mount, bind, unmount.

Nothing here calls stat() on a mount point, which hangs when the device under it is dead (kubernetes issue 101622).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpucsi.errors import FailedPreconditionError
from dpucsi.mount.command import run

MOUNTINFO = Path("/proc/self/mountinfo")
TIMEOUT_S = 30.0
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc(5)). `dev` is (major, minor) of the file system, `root` the part of it seen here."""

    mount_id: int
    parent_id: int
    dev: tuple[int, int]
    root: str
    path: str
    options: frozenset[str]
    fs_type: str
    source: str
    super_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """Mounted so. The file system may be writable elsewhere, and one that met an error is not `ro` here."""
        return "ro" in self.options

    def __str__(self) -> str:
        return f"{self.fs_type} of device {self.dev[0]}:{self.dev[1]} ({self.source}) at {self.path}"


def read_mounts(source: Path = MOUNTINFO) -> list[Mount]:
    """All mounts of this mount namespace; of several at one place the last is the one that is seen."""
    return parse_mountinfo(source.read_text("utf-8", "surrogateescape"))


def mounted_elsewhere(dev: tuple[int, int], proc: Path = Path("/proc")) -> list[str]:
    """Where other mount namespaces have a file system of `dev`: "program (pid) at path", a line per namespace.

    Only of processes that this one may see; a process that ends meanwhile has none.
    """
    found = {}
    own = (proc / "self/ns/mnt").stat().st_ino
    for process in sorted(proc.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        try:
            namespace = (process / "ns/mnt").stat().st_ino
            if namespace == own or namespace in found:
                continue
            paths = [mount.path for mount in read_mounts(process / "mountinfo") if mount.dev == dev]
            program = (process / "comm").read_text("utf-8", "replace").strip()
        except OSError:
            continue
        if paths:
            found[namespace] = f"{program} ({process.name}) at {paths[-1]}"
    return list(found.values())


def parse_mountinfo(text: str) -> list[Mount]:
    """Lines as proc(5) tells them; optional fields stand between the options and a lonely '-'."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        head, tail = before.split(" "), after.split(" ")
        major, _, minor = head[2].partition(":")
        mounts.append(
            Mount(
                mount_id=int(head[0]),
                parent_id=int(head[1]),
                dev=(int(major), int(minor)),
                root=_plain(head[3]),
                path=_plain(head[4]),
                options=frozenset(head[5].split(",")),
                fs_type=tail[0],
                source=_plain(tail[1]),
                super_options=frozenset(tail[2].split(",")) if len(tail) > 2 else frozenset(),
            )
        )
    return mounts


def mounts_at(path: Path, mounts: Sequence[Mount]) -> list[Mount]:
    """Everything mounted at `path`, the visible one last."""
    wanted = canonical(path)
    return [mount for mount in mounts if mount.path == wanted]


def copies_at(path: Path, mounts: Sequence[Mount]) -> list[Mount]:
    """Everything mounted at `path`, and its copies elsewhere that come and go with it.

    Where kubelet's folder is itself a bind mount, the kernel repeats every mount below it at the folder's other place
    (mount_namespaces(7), "Shared subtrees"). Such copies sit on the very same folder of the same file system.
    """
    by_id = {mount.mount_id: mount for mount in mounts}
    places = {_place(mount, by_id) for mount in mounts_at(path, mounts)}
    return [mount for mount in mounts if _place(mount, by_id) in places]


def _place(mount: Mount, by_id: Mapping[int, Mount]) -> tuple[tuple[int, int], str]:
    """(device, path within its file system) of the folder or file that `mount` covers."""
    parent = by_id.get(mount.parent_id)
    if parent is None or parent is mount:
        return mount.dev, mount.path
    below = os.path.relpath(mount.path, parent.path)
    return parent.dev, os.path.normpath(f"{parent.root}/{below}")


def canonical(path: Path) -> str:
    """As mountinfo spells it: the folders above resolved, the last part left alone, for it may be a dead mount."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118  # bytes-for-bytes what the kernel has


async def mount(source: Path, target: Path, fs_type: str, options: Sequence[str]) -> None:
    """Mounts a file system. Raises FailedPreconditionError with the program's words, without the options."""
    flags = ["-o", ",".join(options)] if options else []
    ended = await run(["mount", "-t", fs_type, *flags, "--", str(source), str(target)], timeout_s=TIMEOUT_S)
    if ended.code != 0:
        raise FailedPreconditionError(
            f"{source} could not be mounted as {fs_type} at {target}: {ended.words}; see the kernel's log, and whether "
            "the mount flags belong to this file system"
        )


async def bind(source: Path, target: Path) -> None:
    """Shows `source`, a folder or a device node, at `target`, which exists and is of the same kind."""
    ended = await run(["mount", "--bind", "--", str(source), str(target)], timeout_s=TIMEOUT_S)
    if ended.code != 0:
        raise FailedPreconditionError(f"{source} could not be bind-mounted at {target}: {ended.words}")


async def make_bind_read_only(target: Path) -> None:
    """Only this bind mount; what it shows stays writable elsewhere."""
    ended = await run(["mount", "-o", "remount,bind,ro", "--", str(target)], timeout_s=TIMEOUT_S)
    if ended.code != 0:
        raise FailedPreconditionError(f"{target} could not be made read-only: {ended.words}")


async def unmount_all(target: Path) -> None:
    """Unmounts until nothing is mounted at `target`. Never lazily and never by force: writes would go on unseen.

    Raises FailedPreconditionError where it is busy.
    """
    for _ in range(len(mounts_at(target, read_mounts()))):
        ended = await run(["umount", "--no-canonicalize", "--", canonical(target)], timeout_s=TIMEOUT_S)
        if ended.code != 0 and mounts_at(target, read_mounts()):
            raise FailedPreconditionError(
                f"{target} could not be unmounted: {ended.words}; end what uses it (fuser -vm {target}) and try again"
            )


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda code: chr(int(code[1], 8)), text)
