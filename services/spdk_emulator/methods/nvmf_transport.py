"""nvmf_*_transport*."""

import errno
from typing import Any

from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.errors import refused
from spdk_emulator.rpc.params import Json, boolean, i32, may, need, takes, text, u16, u32
from spdk_emulator.rpc.table import NVMF, method

_NUMBERS = (
    *("in_capsule_data_size", "max_io_size", "io_unit_size", "max_aq_depth", "num_shared_buffers", "buf_cache_size"),
    *("iobuf_small_cache_size", "iobuf_large_cache_size", "max_srq_depth", "sock_priority", "abort_timeout_sec"),
    *("acceptor_poll_rate", "ack_timeout", "data_wr_pool_size", "min_kato"),
)
_SMALL_NUMBERS = ("max_queue_depth", "max_io_qpairs_per_ctrlr", "control_msg_num", "kas")
_FLAGS = (
    *("zcopy", "no_srq", "c2h_success", "dif_insert_or_strip", "no_wr_batching", "disable_mappable_bar0"),
    *("disable_adaptive_irq", "disable_shadow_doorbells", "disable_command_passthru"),
)


@method(
    "nvmf_create_transport",
    takes(
        trtype=need(text),
        tgt_name=may(text),
        num_cqe=may(i32),
        acceptor_backlog=may(i32),
        **{name: may(u32) for name in _NUMBERS},
        **{name: may(u16) for name in _SMALL_NUMBERS},
        **{name: may(boolean) for name in _FLAGS},
    ),
    mismatch=NVMF,
    is_relaxed=True,
)
def nvmf_create_transport(emulator: Emulator, *, trtype: str, tgt_name: str | None, **options: Any) -> Json:
    """TCP and VFIOUSER; there is no RDMA device."""
    emulator.target.check_name(tgt_name)
    emulator.target.transports.create(trtype, options)
    return True


@method("nvmf_get_transports", takes(trtype=may(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_get_transports(emulator: Emulator, *, trtype: str | None, tgt_name: str | None) -> Json:
    """All, or one."""
    emulator.target.check_name(tgt_name)
    if trtype is not None and not emulator.target.transports.has(trtype):
        raise refused(errno.ENODEV)
    return emulator.target.transports.describe(trtype)
