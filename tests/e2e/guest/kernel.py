"""The guest's kernel: Debian's generic one, downloaded and unpacked once, never installed in /boot."""

import fcntl
import lzma
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = "linux-image-amd64"  # depends on the newest linux-image-VERSION-amd64
_XZ = b"\xfd7zXZ\0"


class NoKernelError(Exception):
    """There is none and it cannot be had here; says why."""


@dataclass(frozen=True)
class Kernel:
    """`image` is what QEMU starts; below `folder` lies lib/modules/`release`."""

    folder: Path
    release: str

    @property
    def image(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def modules(self) -> Path:
        return self.folder / "lib/modules" / self.release


def ensure_kernel(cache: Path) -> Kernel:
    """The kernel below `cache`, fetched first where it is not there (70 MB, seconds); raises NoKernelError."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:  # of the test workers that start together one fetches it
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = sorted(cache.glob("*/vmlinux"))
        return Kernel(found[-1].parent, found[-1].parent.name) if found else _fetch(cache)


def _fetch(cache: Path) -> Kernel:
    # Beside its later place, so that a rename makes it appear whole.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
        try:
            listed = _run(["apt-cache", "depends", _PACKAGE])
            package = re.search(r"Depends: (linux-image-\S+)", listed)
            if package is None:
                raise NoKernelError(f"no package {_PACKAGE} here: is this Debian on amd64, after apt-get update?")
            _run(["apt-get", "-q", "download", package[1]], Path(scratch))
            tree = Path(scratch) / "tree"
            _run(["dpkg-deb", "-x", *map(str, Path(scratch).glob("*.deb")), str(tree)])
            (modules,) = (tree / "lib/modules").iterdir()
            _run(["depmod", "-b", str(tree), modules.name])
        except (OSError, subprocess.CalledProcessError) as failed:
            raise NoKernelError(f"cannot fetch {_PACKAGE}: {failed}") from failed
        (tree / "vmlinux").write_bytes(_uncompressed((tree / "boot" / f"vmlinuz-{modules.name}").read_bytes()))
        shutil.rmtree(tree / "usr", ignore_errors=True)  # its documentation
        return Kernel(tree.rename(cache / modules.name), modules.name)


def _uncompressed(image: bytes) -> bytes:
    """The ELF file inside of a bzImage: emulated, unpacking it at each boot would cost seconds.

    Where it is not packed with xz, the bzImage itself, which QEMU starts as well.
    """
    start = image.find(_XZ)
    return lzma.LZMADecompressor().decompress(image[start:]) if start >= 0 else image


def _run(argv: list[str], folder: Path | None = None) -> str:
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout
