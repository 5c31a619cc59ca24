"""Numbers of controllers, subsystems and disks: never used again within a boot of the Host, whoever asks."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class _Next:
    """What is given next. Subsystems begin at 1: a disk's first number is not its controller's, and here it shows."""

    boot: str
    controller: int = 0
    subsystem: int = 1
    instance: int = 1


class Numbers:
    """Kept in `file`, written before a number is given, so that the next process of the same boot goes on behind."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._next = _load(file, BOOT_ID.read_text().strip())

    def controller(self) -> tuple[int, int]:
        """For /sys/class/nvme/nvme<number> and its nvme-subsys<subsystem>."""
        given = (self._next.controller, self._next.subsystem)
        self._next.controller += 1
        self._next.subsystem += 1
        self._save()
        return given

    def instance(self) -> int:
        """For a disk, nvme<subsystem>n<instance>."""
        given = self._next.instance
        self._next.instance += 1
        self._save()
        return given

    def _save(self) -> None:
        aside = self._file.with_suffix(".new")
        aside.write_text(json.dumps(asdict(self._next)))
        aside.replace(self._file)


def _load(file: Path, boot: str) -> _Next:
    try:
        saved = json.loads(file.read_text())
    except FileNotFoundError:
        return _Next(boot)
    return _Next(**saved) if saved["boot"] == boot else _Next(boot)
