"""The built image: what it says of itself, and its root, in which programs run as a pod's containers do."""

import json
import shlex
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.image.unpack import blob, document, manifest, unpack

SBOM = "usr/share/doc/dpucsi/sbom.cdx.json"

# As the chart runs them: the controller as the image's own user; the DPU's services as root with no capabilities;
# csi-node-host privileged, because it mounts. Nobody gains privileges.
USER = ("--reuid=65532", "--regid=65532", "--clear-groups", "--bounding-set=-all", "--no-new-privs")
ROOT = ("--clear-groups", "--bounding-set=-all", "--no-new-privs")
PRIVILEGED = ("--clear-groups",)

# A mount namespace whose root is the image, read-only, with what a container runtime adds. The shared folder is at the
# same path on both sides, and mounts below it appear on both (in a pod: mountPropagation Bidirectional). Every step
# becomes the next one, so the process that was started is the service.
_ENTER = """
root=$1 shared=$2; shift 2
mount --make-private "$(findmnt --noheadings --output TARGET --target "$root")"
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder"; done
for folder in tmp run; do mount -t tmpfs tmpfs "$root/$folder"; done
mkdir -p "$root$shared"
mount --rbind "$shared" "$root$shared"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Image:
    """`folder` is what docker/build made; `shared` a folder (of its own mount, shared) that programs inside see too."""

    folder: Path
    shared: Path

    @property
    def root(self) -> Path:
        """What a container sees as its root."""
        return self.folder / "root"

    def unpack(self) -> None:
        """Makes the root, unless it is that of this image."""
        digest, unpacked = self.folder / "digest", self.folder / "unpacked"
        if unpacked.exists() and unpacked.read_text() == digest.read_text():
            return
        unpacked.unlink(missing_ok=True)
        if self.root.exists():
            shutil.rmtree(self.root)
        unpack(self.folder / "dpucsi.oci.tar", self.root)
        shutil.copy(digest, unpacked)

    def document_in_root(self, name: str) -> Any:
        """A JSON file of the root."""
        return json.loads((self.root / name).read_text())

    @property
    def config(self) -> Any:
        """How a container of it is started, and its labels."""
        with tarfile.open(self.folder / "dpucsi.oci.tar") as archive:
            return document(archive, blob(manifest(archive)["config"]["digest"]))["config"]

    def argv(self, command: tuple[str, ...], *, privileges: tuple[str, ...] = USER) -> list[str]:
        """What runs `command` in the image with nothing but its environment."""
        return [
            *("unshare", "--mount", "--propagation", "unchanged"),
            *("sh", "-euc", _ENTER, "sh", str(self.root), str(self.shared)),
            *("setpriv", *privileges, "env", "-i", *self.config["Env"], *command),
        ]

    def run(self, *command: str, privileges: tuple[str, ...] = USER) -> "subprocess.CompletedProcess[str]":
        """Runs `command` to its end."""
        return subprocess.run(
            self.argv(command, privileges=privileges), capture_output=True, text=True, timeout=60, check=False
        )

    def interpreter(self) -> Path:
        """A program that takes `-m some_service …` as Python does, and runs `some-service …` in the image."""
        environment = ("csi-controller", USER), ("csi-node-host", PRIVILEGED), ("*", ROOT)
        cases = "\n".join(
            f'{name}) exec {shlex.join(self.argv((), privileges=privileges))} "$name" "$@" ;;'
            for name, privileges in environment
        )
        program = self.shared / "python"
        program.write_text(f'#!/bin/sh\nname=$(echo "$2" | tr _ -)\nshift 2\ncase $name in\n{cases}\nesac\n')
        program.chmod(0o755)
        return program
