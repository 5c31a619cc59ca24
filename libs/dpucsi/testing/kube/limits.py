"""The one limit of this machine that a whole cluster comes near."""

from pathlib import Path

# Five kubelets and a control plane watch some 90 files and folders; a usual limit is 128 per user.
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_WANTED = 512
_NOTE = "inotify-limit"


def raise_inotify(root: Path) -> None:
    """Raises the limit where it is low, and notes below `root` what it was."""
    found = int(_INOTIFY.read_text())
    if found < _WANTED:
        (root / _NOTE).write_text(str(found))
        _INOTIFY.write_text(str(_WANTED))


def restore_inotify(root: Path) -> None:
    """Puts it back; what exceeds it then goes on."""
    note = root / _NOTE
    if note.exists():
        _INOTIFY.write_text(note.read_text())
        note.unlink()
