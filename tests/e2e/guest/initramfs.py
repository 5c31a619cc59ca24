"""The guest's first file system: busybox, a few modules, and the two scripts that lead to the machine's own root."""

import lzma
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.guest.kernel import Kernel

_HERE = Path(__file__).parent
_BUSYBOX = "/bin/busybox"  # Debian's busybox-static: it needs no library
_ROOT_OVER_9P = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_FOLDERS = ("bin", "m", "proc", "sys", "dev", "lower", "rw", "new")


def make_initramfs(kernel: Kernel, settings: Mapping[str, str], out: Path) -> None:
    """Writes the archive `out` (newc). `settings` are shell variables that the second script reads."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for folder in _FOLDERS:
            (root / folder).mkdir()
        shutil.copy(_BUSYBOX, root / "bin/busybox")
        for script in ("init", "init2"):
            shutil.copy(_HERE / f"{script}.sh", root / script)
            (root / script).chmod(0o755)
        (root / "settings").write_text("".join(f"{name}={shlex.quote(text)}\n" for name, text in settings.items()))
        names = [_place(path, root / "m") for path in _with_what_they_need(kernel)]
        (root / "m/order").write_text("".join(f"{name}\n" for name in names))
        files = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        with out.open("wb") as archive:
            argv = ["cpio", "-o", "-H", "newc", "--quiet"]
            subprocess.run(argv, cwd=root, input=files.encode(), stdout=archive, check=True)


def _with_what_they_need(kernel: Kernel) -> list[Path]:
    """Module files in the order of loading."""
    paths: dict[Path, None] = {}
    for module in _ROOT_OVER_9P:
        argv = ["modprobe", "-d", str(kernel.folder), "-S", kernel.release, "--show-depends", module]
        listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        for line in listed.splitlines():
            verb, _, rest = line.partition(" ")
            if verb == "insmod":
                paths[Path(rest.split()[0])] = None
    return list(paths)


def _place(module: Path, folder: Path) -> str:
    """Busybox's insmod takes no packed module."""
    data = module.read_bytes()
    name = module.name.removesuffix(".xz")
    (folder / name).write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)
    return name
