"""Features and asynchronous events (NVMe Base 2.0, sections 5.27 and 5.2)."""

from dataclasses import dataclass
from enum import IntEnum

from dpucsi.nvme_tcp.logs import LogId


class Feature(IntEnum):
    """Feature identifiers, Figure 317."""

    ARBITRATION = 0x01
    POWER_MANAGEMENT = 0x02
    TEMPERATURE_THRESHOLD = 0x04
    ERROR_RECOVERY = 0x05
    VOLATILE_WRITE_CACHE = 0x06
    NUMBER_OF_QUEUES = 0x07
    INTERRUPT_COALESCING = 0x08
    INTERRUPT_VECTOR = 0x09
    WRITE_ATOMICITY = 0x0A
    ASYNC_EVENT_CONFIG = 0x0B
    KEEP_ALIVE_TIMER = 0x0F
    HOST_BEHAVIOUR = 0x16
    HOST_IDENTIFIER = 0x81


SAVE = 1 << 31  # of Set Features: keep over a reset
EVENT_NAMESPACES, EVENT_ANA, EVENT_DISCOVERY = 1 << 8, 1 << 11, 1 << 31  # of the asynchronous event configuration


def queues(count: int) -> int:
    """The value of "number of queues" for as many submission and completion queues, 1 to 65,535."""
    return (count - 1) | (count - 1) << 16


def queue_counts(value: int) -> tuple[int, int]:
    """Submission and completion queues."""
    return (value & 0xFFFF) + 1, (value >> 16 & 0xFFFF) + 1


class EventType(IntEnum):
    """Figure 147."""

    ERROR = 0
    SMART = 1
    NOTICE = 2


class Notice(IntEnum):
    """Figure 150: what a notice is of."""

    NAMESPACES = 0x00
    ANA = 0x03
    DISCOVERY = 0xF0


NOTICE_PAGES = {
    Notice.NAMESPACES: LogId.CHANGED_NAMESPACES,
    Notice.ANA: LogId.ANA,
    Notice.DISCOVERY: LogId.DISCOVERY,
}
NOTICE_BITS = {
    Notice.NAMESPACES: EVENT_NAMESPACES,
    Notice.ANA: EVENT_ANA,
    Notice.DISCOVERY: EVENT_DISCOVERY,
}


@dataclass(frozen=True)
class AsyncEvent:
    """The result of an asynchronous event request, Figure 146. `page`: the log page to read."""

    kind: int
    info: int
    page: int

    @classmethod
    def notice(cls, notice: Notice) -> "AsyncEvent":
        """What the host has asked to be told."""
        return cls(EventType.NOTICE, notice, NOTICE_PAGES[notice])

    @classmethod
    def decode(cls, result: int) -> "AsyncEvent":
        """From a completion's result."""
        return cls(result & 0b111, result >> 8 & 0xFF, result >> 16 & 0xFF)

    def encode(self) -> int:
        """To a completion's result."""
        return self.kind | self.info << 8 | self.page << 16
