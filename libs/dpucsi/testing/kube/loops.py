"""Loop devices of a lab: this machine has one set of them for all its Nodes and cards."""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dpucsi.testing.kube.process import command

KUBELET_FOLDER = "/var/lib/kubelet/"
NOWHERE = ("/", "/ (deleted)")  # how the kernel calls a file whose mount is gone from everywhere
CARDS_FIRST = 1024  # emulated-card numbers its devices from here on
_LOOP_CTL_REMOVE = 0x4C81  # linux/loop.h
DETACH_S = 2.0  # what waits for I/O detaches later


def loop_devices() -> dict[str, str]:
    """All of this machine: the file under each, as whoever attached it called it."""
    listed = command(["losetup", "--json", "--output", "NAME,BACK-FILE"])
    rows = json.loads(listed)["loopdevices"] if listed.strip() else []
    return {row["name"]: str(row["back-file"]) for row in rows}


def loops_of_node(disks: Path) -> set[str]:
    """Devices that a living kubelet made over raw block volumes, of the Node whose /var lies below `disks`.

    Their files are named as the Node sees them, and Nodes have the same paths: a pod's folder tells which one it is.
    """
    return {
        name
        for name, file in loop_devices().items()
        if file.startswith(KUBELET_FOLDER) and (disks / file.lstrip("/")).exists()
    }


def loops_below(root: Path) -> set[str]:
    """Devices over files below `root`: those of its cards."""
    return {name for name, file in loop_devices().items() if file.startswith(f"{root}/")}


def still_there(names: Iterable[str], root: Path) -> set[str]:
    """Which of a lab's devices are there although everything under them is gone; numbers are used again by others."""
    now = loop_devices()
    ours = (f"{root}/", KUBELET_FOLDER)
    return {name for name in names if name in now and (now[name] in NOWHERE or now[name].startswith(ours))}


def remove(names: Iterable[str]) -> None:
    """Removes the device nodes of detached devices that a card has made; those below are the machine's own."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for number in (int(name.removeprefix("/dev/loop")) for name in names):
            if number >= CARDS_FIRST:
                with suppress(OSError):  # the card was first
                    fcntl.ioctl(control, _LOOP_CTL_REMOVE, number)
    finally:
        os.close(control)


def detach(names: Iterable[str]) -> None:
    """Detaches devices; one that has to write first does so on its own time."""
    detaching = [subprocess.Popen(["losetup", "--detach", name], stderr=subprocess.DEVNULL) for name in names]
    for process in detaching:
        with suppress(subprocess.TimeoutExpired):
            process.wait(DETACH_S)
