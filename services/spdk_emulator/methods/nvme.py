"""bdev_nvme_*: the initiator."""

import errno
from collections.abc import Awaitable
from typing import Any, TypeVar

from spdk_emulator.emulator import Emulator
from spdk_emulator.initiator.controller import RemoteController
from spdk_emulator.initiator.options import LossOptions, NvmeOptions
from spdk_emulator.initiator.spec import PathSpec
from spdk_emulator.nvmf.address import Address
from spdk_emulator.nvmf.nqn import NQN_MAX
from spdk_emulator.rpc.errors import RpcError, refused
from spdk_emulator.rpc.params import (
    Json,
    boolean,
    i32,
    may,
    members,
    need,
    one_of,
    takes,
    text,
    u8,
    u16,
    u32,
    u64,
    words,
)
from spdk_emulator.rpc.table import method

NumberT = TypeVar("NumberT", int, float)
IO_QUEUES_MAX = 65536
BDEVS_DEFAULT = 128
NAME_MAX = 512
_MULTIPATH_OPTIONS = members(policy=may(text), selector=may(text), min_io=may(u32))
_OPTION_FLAGS = (
    *("delay_cmd_submit", "disable_auto_failback", "generate_uuids", "nvme_error_stat", "io_path_stat"),
    *("allow_accel_sequence", "rdma_umr_per_io", "enable_flush"),
)
_OPTION_NUMBERS = (
    *("keep_alive_timeout_ms", "arbitration_burst", "low_priority_weight", "medium_priority_weight"),
    *("high_priority_weight", "io_queue_requests", "transport_retry_count", "reconnect_delay_sec"),
    *("fast_io_fail_timeout_sec", "rdma_srq_size", "rdma_max_cq_size", "tcp_connect_timeout_ms"),
)


@method(
    "bdev_nvme_set_options",
    takes(
        action_on_timeout=may(one_of("none", "reset", "abort")),
        timeout_us=may(u64),
        timeout_admin_us=may(u64),
        nvme_adminq_poll_period_us=may(u64),
        nvme_ioq_poll_period_us=may(u64),
        bdev_retry_count=may(i32),
        ctrlr_loss_timeout_sec=may(i32),
        transport_ack_timeout=may(u8),
        transport_tos=may(u8),
        rdma_cm_event_timeout_ms=may(u16),
        dhchap_digests=may(words),
        dhchap_dhgroups=may(words),
        multipath_opts=may(_MULTIPATH_OPTIONS),
        **{name: may(u32) for name in _OPTION_NUMBERS},
        **{name: may(boolean) for name in _OPTION_FLAGS},
    ),
)
def bdev_nvme_set_options(emulator: Emulator, **options: Any) -> Json:
    """Refused once there is a remote controller. What has an effect here is in NvmeOptions."""
    if emulator.initiator.controllers:
        raise RpcError(-errno.EPERM, "RPC not permitted with nvme controllers already attached")
    now = emulator.initiator.options
    wanted = NvmeOptions(
        bdev_retry_count=_given(options, "bdev_retry_count", now.bdev_retry_count),
        keep_alive_timeout_ms=_given(options, "keep_alive_timeout_ms", now.keep_alive_timeout_ms),
        tcp_connect_timeout_ms=_given(options, "tcp_connect_timeout_ms", now.tcp_connect_timeout_ms),
        loss=_loss(options, now.loss),
    )
    if not wanted.is_valid:
        raise refused(errno.EINVAL)
    emulator.initiator.options = wanted
    return True


@method(
    "bdev_nvme_attach_controller",
    takes(
        name=need(text),
        trtype=need(text),
        traddr=need(text),
        adrfam=may(text),
        trsvcid=may(text, ""),
        priority=may(text),
        subnqn=may(text, ""),
        hostnqn=may(text, ""),
        hostaddr=may(text, ""),
        hostsvcid=may(text, ""),
        prchk_reftag=may(boolean),
        prchk_guard=may(boolean),
        hdgst=may(boolean, False),
        ddgst=may(boolean, False),
        fabrics_connect_timeout_us=may(u64),
        multipath=may(one_of("failover", "multipath", "disable"), "multipath"),
        num_io_queues=may(u32, 1024),
        ctrlr_loss_timeout_sec=may(i32),
        reconnect_delay_sec=may(u32),
        fast_io_fail_timeout_sec=may(u32),
        psk=may(text),
        max_bdevs=may(u32, BDEVS_DEFAULT),
        dhchap_key=may(text),
        dhchap_ctrlr_key=may(text),
        allow_unrecognized_csi=may(boolean),
        multipath_opts=may(_MULTIPATH_OPTIONS),
        disable_sq_flow_control=may(boolean),
    ),
)
def bdev_nvme_attach_controller(
    emulator: Emulator, *, name: str, multipath: str, num_io_queues: int, max_bdevs: int, **params: Any
) -> "Json | Awaitable[Json]":
    """The checks come in SPDK's order, so that the same mistake gets the same answer."""
    if not max_bdevs:
        raise RpcError(-errno.EINVAL, "max_bdevs cannot be zero")
    spec = _path_spec(emulator, params)
    controller = emulator.initiator.controllers.get(name)
    if controller is not None:
        _check_further_path(controller, spec, multipath)
    if not 1 <= num_io_queues <= IO_QUEUES_MAX:
        raise RpcError(-errno.EINVAL, f"num_io_queues out of bounds, min: 1 max: {IO_QUEUES_MAX}")
    if emulator.initiator.knows(spec):
        raise refused(errno.EEXIST)
    loss = _loss(params, emulator.initiator.options.loss)
    if not name or len(name) >= NAME_MAX or not loss.is_valid:
        raise refused(errno.EINVAL)
    if any(params[key] for key in ("psk", "dhchap_key", "dhchap_ctrlr_key")):
        raise refused(errno.ENOKEY)  # the keyring is not offered
    is_multipath = multipath == "multipath"
    if controller is not None and controller.is_multipath != is_multipath:
        raise refused(errno.EINVAL)
    if spec.address.trtype != "TCP":
        raise refused(errno.ENODEV)
    if controller is not None and not is_multipath:
        return emulator.initiator.add_alternate(name, spec, loss)
    return emulator.initiator.attach(name, spec, loss, is_multipath=is_multipath, bdevs_max=max_bdevs)


@method(
    "bdev_nvme_detach_controller",
    takes(
        name=need(text),
        trtype=may(text),
        traddr=may(text),
        adrfam=may(text),
        trsvcid=may(text),
        subnqn=may(text),
        hostaddr=may(text),
        hostsvcid=may(text),
    ),
)
def bdev_nvme_detach_controller(emulator: Emulator, *, name: str, **path: str | None) -> Awaitable[Json]:
    """All paths, or those that match."""
    return emulator.initiator.end_detach(emulator.initiator.begin_detach(name, path))


@method("bdev_nvme_get_controllers", takes(name=may(text)))
def bdev_nvme_get_controllers(emulator: Emulator, *, name: str | None) -> Json:
    """All, or one."""
    controllers = emulator.initiator.controllers
    if name is None:
        return [controller.describe() for controller in controllers.values()]
    if name not in controllers:
        raise RpcError(-errno.EINVAL, f"Controller {name} does not exist")
    return [controllers[name].describe()]


def _path_spec(emulator: Emulator, params: dict[str, Any]) -> PathSpec:
    try:
        address = Address.make(params["trtype"], params["adrfam"], params["traddr"], params["trsvcid"])
    except ValueError as wrong:
        raise RpcError(-errno.EINVAL, f"Failed to parse adrfam: {params['adrfam']}") from wrong
    for member in ("subnqn", "hostnqn"):
        if len(params[member].encode()) > NQN_MAX:
            raise RpcError(-errno.EINVAL, f"{member} too long: {params[member]}")
    return PathSpec(
        address=address,
        subnqn=params["subnqn"],
        hostnqn=params["hostnqn"] or emulator.initiator.default_hostnqn,
        hostid=emulator.initiator.hostid,
        hostaddr=params["hostaddr"],
        hostsvcid=params["hostsvcid"],
        hdgst=params["hdgst"],
        ddgst=params["ddgst"],
    )


def _check_further_path(controller: RemoteController, spec: PathSpec, multipath: str) -> None:
    """SPDK compares with the first path only."""
    name, first = controller.name, controller.paths[0].spec
    if multipath == "disable":
        raise RpcError(-errno.EALREADY, f"A controller named {name} already exists and multipath is disabled")
    mine = (spec.address.traddr, spec.address.trsvcid, spec.hostaddr, spec.hostsvcid)
    if mine == (first.address.traddr, first.address.trsvcid, first.hostaddr, first.hostsvcid):
        raise RpcError(-errno.EALREADY, f"A controller named {name} already exists with the specified network path")
    for member, theirs, ours in (("subnqn", first.subnqn, spec.subnqn), ("hostnqn", first.hostnqn, spec.hostnqn)):
        if theirs != ours:
            raise RpcError(
                -errno.EINVAL, f"A controller named {name} already exists, but uses a different {member} ({theirs})"
            )


def _loss(params: dict[str, Any], default: LossOptions) -> LossOptions:
    return LossOptions(
        _given(params, "ctrlr_loss_timeout_sec", default.ctrlr_loss_timeout),
        _given(params, "reconnect_delay_sec", default.reconnect_delay),
        _given(params, "fast_io_fail_timeout_sec", default.fast_io_fail_timeout),
    )


def _given(params: dict[str, Any], name: str, otherwise: NumberT) -> NumberT:
    value: NumberT | None = params.get(name)
    return otherwise if value is None else value
