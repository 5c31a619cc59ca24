"""How a command ended: the status (NVMe Base 2.0, section 3.3.3.2.1), and the error that says so."""

from dataclasses import dataclass
from typing import Final

GENERIC, COMMAND_SPECIFIC, MEDIA, PATH = 0, 1, 2, 3  # status code types, Figure 95


@dataclass(frozen=True, slots=True)
class Status:
    """`sct` 0..7, `sc` 0..255. Numbers that mean several things, by command, have all their names."""

    sct: int
    sc: int

    @property
    def is_success(self) -> bool:
        """Whether the command was carried out."""
        return self == SUCCESS

    @property
    def is_path(self) -> bool:
        """Whether another path may do: path related, of any kind (section 8.1.4)."""
        return self.sct == PATH

    def __str__(self) -> str:
        return f"{_NAMES.get(self, 'status')} ({self.sct:x}/{self.sc:02x})"


class NvmeError(Exception):
    """A command was refused or failed. `dnr`: the same command would fail again (Do Not Retry)."""

    def __init__(self, status: Status, *, dnr: bool = False, reason: str = "", result: int = 0) -> None:
        super().__init__(f"{status}: {reason}" if reason else str(status))
        self.status = status
        self.dnr = dnr
        self.result = result  # dwords 0 and 1 of the completion


SUCCESS: Final = Status(GENERIC, 0x00)
INVALID_OPCODE: Final = Status(GENERIC, 0x01)
INVALID_FIELD: Final = Status(GENERIC, 0x02)
COMMAND_ID_CONFLICT: Final = Status(GENERIC, 0x03)
DATA_TRANSFER_ERROR: Final = Status(GENERIC, 0x04)
INTERNAL_ERROR: Final = Status(GENERIC, 0x06)
ABORT_REQUESTED: Final = Status(GENERIC, 0x07)
ABORTED_SQ_DELETION: Final = Status(GENERIC, 0x08)
ABORTED_MISSING_FUSED: Final = Status(GENERIC, 0x0A)
INVALID_NAMESPACE: Final = Status(GENERIC, 0x0B)
COMMAND_SEQUENCE_ERROR: Final = Status(GENERIC, 0x0C)
INVALID_SGL_SEGMENT: Final = Status(GENERIC, 0x0D)
DATA_SGL_LENGTH_INVALID: Final = Status(GENERIC, 0x0F)
SGL_DESCRIPTOR_TYPE_INVALID: Final = Status(GENERIC, 0x11)
SGL_OFFSET_INVALID: Final = Status(GENERIC, 0x16)
HOSTID_INCONSISTENT_FORMAT: Final = Status(GENERIC, 0x18)
KEEP_ALIVE_EXPIRED: Final = Status(GENERIC, 0x19)
KEEP_ALIVE_INVALID: Final = Status(GENERIC, 0x1A)
NAMESPACE_WRITE_PROTECTED: Final = Status(GENERIC, 0x20)
COMMAND_INTERRUPTED: Final = Status(GENERIC, 0x21)
TRANSIENT_TRANSPORT_ERROR: Final = Status(GENERIC, 0x22)
LBA_OUT_OF_RANGE: Final = Status(GENERIC, 0x80)
CAPACITY_EXCEEDED: Final = Status(GENERIC, 0x81)
NAMESPACE_NOT_READY: Final = Status(GENERIC, 0x82)

INVALID_QUEUE_IDENTIFIER: Final = Status(COMMAND_SPECIFIC, 0x01)
INVALID_QUEUE_SIZE: Final = Status(COMMAND_SPECIFIC, 0x02)
AER_LIMIT_EXCEEDED: Final = Status(COMMAND_SPECIFIC, 0x05)
INVALID_LOG_PAGE: Final = Status(COMMAND_SPECIFIC, 0x09)
FEATURE_NOT_SAVEABLE: Final = Status(COMMAND_SPECIFIC, 0x0D)
FEATURE_NOT_CHANGEABLE: Final = Status(COMMAND_SPECIFIC, 0x0E)
FEATURE_NOT_NAMESPACE_SPECIFIC: Final = Status(COMMAND_SPECIFIC, 0x0F)

# Of Fabrics commands, and of them alone (NVMe Base 2.0, Figure 99): the numbers mean other things elsewhere.
CONNECT_INCOMPATIBLE_FORMAT: Final = Status(COMMAND_SPECIFIC, 0x80)
CONNECT_CONTROLLER_BUSY: Final = Status(COMMAND_SPECIFIC, 0x81)
CONNECT_INVALID_PARAMETERS: Final = Status(COMMAND_SPECIFIC, 0x82)
CONNECT_RESTART_DISCOVERY: Final = Status(COMMAND_SPECIFIC, 0x83)
CONNECT_INVALID_HOST: Final = Status(COMMAND_SPECIFIC, 0x84)
AUTHENTICATION_REQUIRED: Final = Status(COMMAND_SPECIFIC, 0x91)

# Of NVM commands.
CONFLICTING_ATTRIBUTES: Final = Status(COMMAND_SPECIFIC, 0x80)
INVALID_PROTECTION_INFORMATION: Final = Status(COMMAND_SPECIFIC, 0x81)
WRITE_TO_READ_ONLY_RANGE: Final = Status(COMMAND_SPECIFIC, 0x82)
COMMAND_SIZE_LIMIT_EXCEEDED: Final = Status(COMMAND_SPECIFIC, 0x83)

WRITE_FAULT: Final = Status(MEDIA, 0x80)
UNRECOVERED_READ_ERROR: Final = Status(MEDIA, 0x81)
COMPARE_FAILURE: Final = Status(MEDIA, 0x85)
ACCESS_DENIED: Final = Status(MEDIA, 0x86)

INTERNAL_PATH_ERROR: Final = Status(PATH, 0x00)
ANA_PERSISTENT_LOSS: Final = Status(PATH, 0x01)
ANA_INACCESSIBLE: Final = Status(PATH, 0x02)
ANA_TRANSITION: Final = Status(PATH, 0x03)
CONTROLLER_PATH_ERROR: Final = Status(PATH, 0x60)
HOST_PATH_ERROR: Final = Status(PATH, 0x70)
ABORTED_BY_HOST: Final = Status(PATH, 0x71)


def _names() -> dict[Status, str]:
    found: dict[Status, str] = {}
    for name, value in list(globals().items()):
        if isinstance(value, Status):
            words = name.lower().replace("_", " ")
            found[value] = f"{found[value]} or {words}" if value in found else words
    return found


_NAMES = _names()
