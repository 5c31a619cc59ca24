"""The properties of a controller (NVMe Base 2.0, section 3.1.3): what a host reads, and what it sets off by writing."""

from enum import Enum

from dpucsi.nvme_tcp.fabrics import (
    SHN_ABRUPT,
    SHN_NORMAL,
    SHST_COMPLETE,
    SHST_NONE,
    SHST_OCCURRING,
    VERSION_2_0,
    WIDE,
    Capabilities,
    Configuration,
    ControllerStatus,
    Property,
    PropertyAccess,
)
from dpucsi.nvme_tcp.status import CONNECT_INVALID_PARAMETERS, NvmeError

READY_S = 15  # CAP.TO and CRTO: that long CSTS.RDY may take, in seconds
IOSQES, IOCQES = 6, 4  # log2 of the sizes of commands and completions
_CSS_MAX = 6  # CC.CSS: 0 the NVM command set, 6 all that there are


class Step(Enum):
    """What a write to CC asks for."""

    NOTHING = 0
    ENABLE = 1
    DISABLE = 2
    SHUT_DOWN = 3


class Registers:
    """`queue_size`: entries of an I/O queue, at most."""

    def __init__(self, queue_size: int) -> None:
        self.cap = Capabilities(mqes=queue_size - 1, to=READY_S * 2)
        self.cc = Configuration()
        self.is_ready = False
        self.is_fatal = False
        self.shst = SHST_NONE
        self._wide = dict.fromkeys((Property.AQA, Property.ASQ, Property.ACQ), 0)  # kept, and without a meaning here

    @property
    def can_have_io_queues(self) -> bool:
        """Enabled, for queues of the one kind that there is."""
        return self.cc.en and (self.cc.iosqes, self.cc.iocqes) == (IOSQES, IOCQES)

    def read(self, access: PropertyAccess) -> int:
        """A property, or the half of a wide one; raises NvmeError."""
        values = {
            Property.CAP: self.cap.encode(),
            Property.VS: VERSION_2_0,
            Property.CC: self.cc.encode(),
            Property.CSTS: ControllerStatus(self.is_ready, self.is_fatal, self.shst).encode(),
            Property.NSSR: 0,
            Property.CRTO: READY_S * 2,
            **self._wide,
        }
        name = _property(access)
        value = values[name] >> 8 * (access.offset - name)
        return value if access.size == 8 else value & 0xFFFFFFFF

    def write(self, access: PropertyAccess) -> Step:
        """What is to be done now; raises NvmeError, and nothing is changed then."""
        name = _property(access)
        if name in self._wide:
            shift, mask = 8 * (access.offset - name), (1 << 8 * access.size) - 1
            self._wide[name] = self._wide[name] & ~(mask << shift) | (access.value & mask) << shift
        elif name is Property.CC:
            return self._configure(Configuration.decode(access.value & 0xFFFFFFFF))
        elif name is not Property.CSTS:
            raise _refused(f"property {name.name} is read only, or not offered")
        return Step.NOTHING

    def finish(self, step: Step) -> None:
        """What a write asked for has been done."""
        if step is Step.SHUT_DOWN:
            self.shst = SHST_COMPLETE
        self.is_ready = step is Step.ENABLE or (step is Step.SHUT_DOWN and self.is_ready)

    def _configure(self, wanted: Configuration) -> Step:
        if wanted.ams or wanted.mps or wanted.css > _CSS_MAX or wanted.shn > SHN_ABRUPT:
            raise _refused(f"configuration {wanted}")
        before, self.cc = self.cc, wanted
        if wanted.en and not before.en:
            self.shst = SHST_NONE
            self.finish(Step.ENABLE)
            return Step.ENABLE
        if before.en and not wanted.en:
            return Step.DISABLE
        if wanted.shn in (SHN_NORMAL, SHN_ABRUPT) and wanted.shn != before.shn:
            self.shst = SHST_OCCURRING
            return Step.SHUT_DOWN
        return Step.NOTHING


def _property(access: PropertyAccess) -> Property:
    """The property that lies there; raises NvmeError."""
    for name in Property:
        size = 8 if name in WIDE else 4
        if access.size and name <= access.offset and access.offset + access.size <= name + size:
            return name
    raise _refused(f"no property of {access.size} bytes at {access.offset:#x}")


def _refused(reason: str) -> NvmeError:
    return NvmeError(CONNECT_INVALID_PARAMETERS, dnr=True, reason=reason)
