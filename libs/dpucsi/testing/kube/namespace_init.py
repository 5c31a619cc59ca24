"""The first program in new namespaces: mounts what is wanted there, then runs a program, or is a Node's PID 1.

Needs Python alone. Its one argument is a JSON file of
  below    folder of the lab: what is mounted in it is not for these namespaces to see
  folders  {path: folder of this machine to show there}, in the order of mounting; "" for an empty one in memory
  exec     command line that it becomes; for a Node, instead of that:
  name     host name
  shared   path whose mounts the containers' namespaces see, and the other way round
  files    {path of a kernel file: what it shall say}
A Node is up when READY is there.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

READY = "/run/node-is-ready"
EMPTY = "/run/empty"  # a working folder where nothing can be lost
_FAKES = Path("/run/kernel")


def main(config_file: str) -> None:
    """Returns only by an error: a Node dies by SIGKILL."""
    config = json.loads(Path(config_file).read_text())
    let_go(config["below"])
    for path, folder in config["folders"].items():
        show(path, folder)
    if "exec" in config:
        os.execvp(config["exec"][0], config["exec"])  # noqa: S606  # the lab's own command line
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    socket.sethostname(config["name"])
    mount("--bind", config["shared"], config["shared"])
    mount("--make-shared", config["shared"])
    for number, (path, text) in enumerate(config["files"].items()):
        pretend(path, text, _FAKES / str(number))
    Path(EMPTY).mkdir()
    Path(READY).touch()
    reap()


def let_go(below: str) -> None:
    """Unmounts here what belongs to this lab or to another one: a copy of a mount would keep it from ending."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        words = line.split()
        fs_type, source = words[words.index("-") + 1 :][:2]
        is_of_a_lab = fs_type.startswith("fuse") or source.startswith("/dev/loop")
        if is_of_a_lab or words[4].startswith(below + "/"):
            subprocess.run(["umount", "--lazy", words[4]], check=False)


def show(path: str, folder: str) -> None:
    """Mounts a folder of this machine, or an empty one, at `path`."""
    Path(path).mkdir(parents=True, exist_ok=True)
    if folder:
        mount("--bind", folder, path)
    else:
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", path)


def pretend(path: str, text: str, stand_in: Path) -> None:
    """Lets a kernel file say `text` here."""
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(text)
    mount("--bind", str(stand_in), path)


def mount(*words: str) -> None:
    """mount(8); the Node does not come up where it fails."""
    subprocess.run(["mount", *words], check=True)


def reap() -> None:
    """Takes up the end of every process that has lost its parent."""
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    main(sys.argv[1])
