"""spdk_*, rpc_* and framework_*: the process about itself."""

from spdk_emulator.bdev.iostat import TICK_RATE
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc import table
from spdk_emulator.rpc.errors import INVALID_PARAMS, RpcError
from spdk_emulator.rpc.params import Json, boolean, may, takes
from spdk_emulator.rpc.table import NVMF, method

COMMIT = "3230130e6a"  # the SPDK whose answers were recorded


@method("spdk_get_version", bare=RpcError(INVALID_PARAMS, "spdk_get_version method requires no parameters"))
def spdk_get_version(_: Emulator) -> Json:
    """The release whose answers these are."""
    return {
        "version": f"SPDK v26.09-pre git sha1 {COMMIT}",
        "fields": {"major": 26, "minor": 9, "patch": 0, "suffix": "-pre", "commit": COMMIT},
    }


@method("rpc_get_methods", takes(current=may(boolean, False), include_aliases=may(boolean, False)), mismatch=NVMF)
def rpc_get_methods(_: Emulator, *, current: bool, include_aliases: bool) -> Json:
    """The methods of this process; `current` leaves out those of the start-up."""
    return [name for name in table.names() if not current or not table.is_startup(name)]


@method("framework_get_reactors")
def framework_get_reactors(emulator: Emulator) -> Json:
    """Pid and age; the busy and idle shares are made up, the rest is true."""
    age = emulator.age_ticks()
    threads: list[Json] = [
        {"name": name, "id": number, "cpumask": "1", "elapsed": age}
        for number, name in enumerate(("app_thread", "nvmf_tgt_poll_group_000"), start=1)
    ]
    reactor: Json = {
        "lcore": 0,
        "numa_id": 0,
        "tid": emulator.pid,
        "busy": 0,
        "idle": age,
        "in_interrupt": False,
        "irq": 0,
        "sys": 0,
        "usr": 0,
        "lw_threads": threads,
    }
    return {"tick_rate": TICK_RATE, "pid": emulator.pid, "reactors": [reactor]}
