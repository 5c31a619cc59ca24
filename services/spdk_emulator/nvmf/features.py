"""Features of one controller (NVMe Base 2.0, section 5.27): the host sets them, nothing is kept over a reset."""

from dpucsi.nvme_tcp.buffers import Buffer
from dpucsi.nvme_tcp.command import Command
from dpucsi.nvme_tcp.features import SAVE, Feature, queues
from dpucsi.nvme_tcp.status import (
    COMMAND_SEQUENCE_ERROR,
    DATA_SGL_LENGTH_INVALID,
    FEATURE_NOT_CHANGEABLE,
    FEATURE_NOT_SAVEABLE,
    INVALID_FIELD,
    KEEP_ALIVE_INVALID,
    NvmeError,
)
from dpucsi.nvme_tcp.target import Reply
from spdk_emulator.nvmf.host import Host
from spdk_emulator.nvmf.transport import TransportOptions

HOST_BEHAVIOUR_SIZE = 512
OF_DISCOVERY = frozenset({Feature.ASYNC_EVENT_CONFIG, Feature.KEEP_ALIVE_TIMER})
_CURRENT, _SUPPORTED = 0, 3  # of the select field
_CHANGEABLE = 0b100
_FIXED = frozenset({Feature.INTERRUPT_COALESCING, Feature.INTERRUPT_VECTOR, Feature.VOLATILE_WRITE_CACHE})
_NO_SENSOR = range(9, 15)  # values of the temperature threshold's sensor that stand for none


class Features:
    """`known`: those that this kind of controller has; `events`: what the host is told without asking for it."""

    def __init__(self, host: Host, options: TransportOptions, *, known: frozenset[Feature], events: int) -> None:
        self._host = host
        self._options = options
        self._behaviour = bytes(HOST_BEHAVIOUR_SIZE)
        defaults = dict.fromkeys(Feature, 0) | {
            Feature.VOLATILE_WRITE_CACHE: 1,
            Feature.NUMBER_OF_QUEUES: queues(options.io_queues_max),
            Feature.INTERRUPT_VECTOR: 1 << 16,  # no coalescing
            Feature.ASYNC_EVENT_CONFIG: events,
            Feature.KEEP_ALIVE_TIMER: options.keep_alive_ms(host.kato),
        }
        self._defaults = {feature: value for feature, value in defaults.items() if feature in known}
        self._values = dict(self._defaults)

    @property
    def events(self) -> int:
        """Which events the host is told: bits."""
        return self._values[Feature.ASYNC_EVENT_CONFIG]

    @property
    def keep_alive_s(self) -> float:
        """Seconds without a Keep Alive command; 0 for any time."""
        return self._values[Feature.KEEP_ALIVE_TIMER] / 1000

    def get(self, command: Command) -> Reply:
        """Get Features; raises NvmeError."""
        feature, select = self._feature(command), command.cdw10 >> 8 & 0b111
        if select > _SUPPORTED:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"select {select}")
        if select == _SUPPORTED:
            return Reply(0 if feature in _FIXED else _CHANGEABLE)
        if feature is Feature.TEMPERATURE_THRESHOLD:
            _check_threshold(command.cdw11)
        if feature is Feature.HOST_IDENTIFIER:
            if not command.cdw11 & 1:
                raise NvmeError(INVALID_FIELD, dnr=True, reason="a host identifier of 8 bytes")
            return _whole(command, self._host.hostid.bytes)
        if feature is Feature.HOST_BEHAVIOUR:
            return _whole(command, self._behaviour)
        return Reply((self._values if select == _CURRENT else self._defaults)[feature])

    def set(self, command: Command, data: Buffer, *, has_io_queues: bool) -> Reply:
        """Set Features; raises NvmeError."""
        if command.cdw10 & SAVE:
            raise NvmeError(FEATURE_NOT_SAVEABLE, dnr=True)
        feature, value = self._feature(command), command.cdw11
        self._check(feature, value, has_io_queues=has_io_queues)
        if feature is Feature.HOST_BEHAVIOUR:
            self._set_behaviour(data)
        elif feature is Feature.KEEP_ALIVE_TIMER:
            self._values[feature] = self._options.keep_alive_ms(value)
        elif feature is Feature.NUMBER_OF_QUEUES:  # always all: the host takes as many as it wants
            return Reply(self._values[feature])
        elif feature is not Feature.TEMPERATURE_THRESHOLD:  # there is no sensor
            self._values[feature] = value
        return Reply()

    def _feature(self, command: Command) -> Feature:
        number = command.cdw10 & 0xFF
        if number not in self._values:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"feature {number:#04x}")
        return Feature(number)

    @staticmethod
    def _check(feature: Feature, value: int, *, has_io_queues: bool) -> None:
        if feature is Feature.HOST_IDENTIFIER:  # Connect has set it
            raise NvmeError(COMMAND_SEQUENCE_ERROR, dnr=True)
        if feature in _FIXED and not (feature is Feature.VOLATILE_WRITE_CACHE and value & 1):
            raise NvmeError(FEATURE_NOT_CHANGEABLE, dnr=True)
        if feature is Feature.KEEP_ALIVE_TIMER and value == 0:
            raise NvmeError(KEEP_ALIVE_INVALID, dnr=True)
        if feature is Feature.NUMBER_OF_QUEUES:
            if value & 0xFFFF == 0xFFFF or value >> 16 == 0xFFFF:
                raise NvmeError(INVALID_FIELD, dnr=True, reason=f"number of queues {value:#x}")
            if has_io_queues:
                raise NvmeError(COMMAND_SEQUENCE_ERROR, dnr=True, reason="there are I/O queues")
        if feature is Feature.TEMPERATURE_THRESHOLD:
            _check_threshold(value)
        is_no_state = feature is Feature.POWER_MANAGEMENT and value & 0x1F
        is_unwritten_error = feature is Feature.ERROR_RECOVERY and value >> 16 & 1
        if is_no_state or is_unwritten_error:
            raise NvmeError(INVALID_FIELD, dnr=True, reason=f"{feature.name} {value:#x}")

    def _set_behaviour(self, data: Buffer) -> None:
        if len(data) != HOST_BEHAVIOUR_SIZE:
            raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{len(data)} bytes of host behaviour")
        if data[0] > 1 or data[2] > 1:
            raise NvmeError(INVALID_FIELD, dnr=True, reason="host behaviour")
        self._behaviour = bytes(data)


def _check_threshold(value: int) -> None:
    if (value >> 16 & 0xF) in _NO_SENSOR or value >> 20 & 0b11 > 1:
        raise NvmeError(INVALID_FIELD, dnr=True, reason=f"temperature threshold {value:#x}")


def _whole(command: Command, data: bytes) -> Reply:
    if command.sgl.length < len(data):
        raise NvmeError(DATA_SGL_LENGTH_INVALID, dnr=True, reason=f"{command.sgl.length} of {len(data)} bytes")
    return Reply(data=data)
