"""The transports that an NVMe-oF target may have, with the options that SPDK shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dpucsi.nvme_tcp.target import Limits
from spdk_emulator.rpc.errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from spdk_emulator.rpc.params import Json

MAX_IO_SIZE_MIN = 8192

_COMMON: dict[str, Json] = {
    "dif_insert_or_strip": False,
    "zcopy": False,
    "abort_timeout_sec": 1,
    "ack_timeout": 0,
    "data_wr_pool_size": 0,
    "disable_command_passthru": False,
    "kas": 100,
    "min_kato": 10000,
}
DEFAULTS: dict[str, dict[str, Json]] = {
    "TCP": {
        "trtype": "TCP",
        "max_queue_depth": 128,
        "max_io_qpairs_per_ctrlr": 127,
        "in_capsule_data_size": 4096,
        "max_io_size": 131072,
        "max_aq_depth": 128,
        "iobuf_small_cache_size": 4294967295,
        "iobuf_large_cache_size": 4294967295,
        **_COMMON,
        "c2h_success": True,
        "sock_priority": 0,
    },
    "VFIOUSER": {
        "trtype": "VFIOUSER",
        "max_queue_depth": 256,
        "max_io_qpairs_per_ctrlr": 127,
        "in_capsule_data_size": 0,
        "max_io_size": 131072,
        "max_aq_depth": 32,
        "iobuf_small_cache_size": 0,
        "iobuf_large_cache_size": 0,
        **_COMMON,
        "abort_timeout_sec": 0,
    },
}
KNOWN_WITHOUT_DEVICE = ("RDMA", "FC")


KAS_MS = 100  # the unit of `kas`


@dataclass(frozen=True)
class TransportOptions:
    """What a transport means for its queues. `queue_size`, `admin_size`: entries; `kas`: of 100 ms; `min_kato`: ms."""

    limits: Limits = field(default_factory=Limits)
    queue_size: int = 128
    admin_size: int = 128
    io_queues_max: int = 127
    kas: int = 100
    min_kato: int = 10000

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> "TransportOptions":
        """From the options that SPDK shows."""
        limits = Limits(shown["in_capsule_data_size"], shown["max_io_size"], shown.get("c2h_success", True))
        return cls(
            limits=limits,
            queue_size=shown["max_queue_depth"],
            admin_size=shown["max_aq_depth"],
            io_queues_max=shown["max_io_qpairs_per_ctrlr"],
            kas=shown["kas"],
            min_kato=shown["min_kato"],
        )

    def keep_alive_ms(self, kato: int) -> int:
        """What a host that asks for `kato` gets: not less than the least, in steps of `kas`, as SPDK."""
        if not kato or not self.kas:
            return 0
        step = self.kas * KAS_MS
        return self.min_kato if kato <= self.min_kato else -(-kato // step) * step


class Transports:
    """The transports that were made."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, Json]] = {}

    def has(self, trtype: str) -> bool:
        """Whether it was made; SPDK does not care about capitals."""
        return trtype.upper() in self._made

    def create(self, trtype: str, options: Mapping[str, Any]) -> None:
        """Makes one; raises what SPDK would answer."""
        name = trtype.upper()
        if name not in DEFAULTS and name not in KNOWN_WITHOUT_DEVICE:
            raise RpcError(INVALID_PARAMS, f"Invalid transport type '{trtype}'")
        if name in self._made:
            raise RpcError(INTERNAL_ERROR, f"Transport type '{trtype}' already exists")
        if name not in DEFAULTS:  # no such device here
            raise RpcError(INTERNAL_ERROR, "Failed to create transport.")
        shown = dict(DEFAULTS[name])
        for option, value in options.items():
            if option in shown and value is not None:
                shown[option] = value
        if options.get("buf_cache_size"):
            shown["iobuf_small_cache_size"] = options["buf_cache_size"]
        if not shown["max_queue_depth"]:
            shown["max_queue_depth"] = DEFAULTS[name]["max_queue_depth"]
        size = options.get("max_io_size")
        if size is not None and (size < MAX_IO_SIZE_MIN or size & (size - 1)):
            raise RpcError(INTERNAL_ERROR, f"Transport type '{trtype}' create failed")
        self._made[name] = shown

    def options(self, trtype: str) -> TransportOptions:
        """Of one that was made."""
        return TransportOptions.of(self._made[trtype.upper()])

    def describe(self, trtype: str | None) -> list[Json]:
        """As in nvmf_get_transports."""
        return [shown for name, shown in self._made.items() if trtype is None or name == trtype.upper()]
