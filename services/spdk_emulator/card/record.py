"""What the card shows, kept in its folder: the next process adopts it, as a card outlives the SPDK in front of it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

NOT_YET = -1  # the number of a loop device that is being made


@dataclass
class Device:
    """One namespace on the Host: /dev/nvme<subsystem>n<instance> over a loop device."""

    nsid: int
    uuid: str
    nguid: str
    path: str
    block_size: int
    num_blocks: int
    is_read_only: bool
    instance: int
    loop: int = NOT_YET


@dataclass
class Controller:
    """One controller on the Host: /sys/class/nvme/nvme<number>, of nvme-subsys<subsystem>."""

    function: str
    address: str
    number: int
    subsystem: int
    subnqn: str
    serial_number: str
    model_number: str
    cntlid: int
    devices: list[Device] = field(default_factory=list)


@dataclass
class Record:
    """`next_*`: numbers are never used again within a boot of the Host. `boot`: the boot that all this belongs to."""

    boot: str
    next_controller: int = 0
    next_subsystem: int = 1  # not 0: the first number of a disk's name is not its controller's, and here it shows
    next_instance: int = 1
    controllers: list[Controller] = field(default_factory=list)

    def of(self, function: str) -> Controller | None:
        """The controller on a function."""
        return next((entry for entry in self.controllers if entry.function == function), None)


def load(file: Path) -> Record:
    """The record of this boot; an empty one where there is none: loop devices do not outlive a boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        saved = json.loads(file.read_text())
    except FileNotFoundError:
        return Record(boot)
    if saved["boot"] != boot:
        return Record(boot)
    controllers = [
        Controller(**{**entry, "devices": [Device(**device) for device in entry["devices"]]})
        for entry in saved.pop("controllers")
    ]
    return Record(**saved, controllers=controllers)


def save(file: Path, record: Record) -> None:
    """Replaces the file as a whole."""
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(asdict(record)))
    aside.replace(file)
