"""bdev_nvme_*: the initiator. A remote controller connects to a target's subsystem and brings its namespaces as bdevs.

SPDK's word is "controller" for both a name with all its paths and one path's session; here the first is a
`RemoteController` and the second an `NvmePath`.
"""

from dataclasses import dataclass

from dpucsi.spdk.address import TransportAddress, transport_address
from dpucsi.spdk.answers import Caller, Fields, done, each, given, only, texts
from dpucsi.spdk.errors import SpdkError

ENABLED = "enabled"  # the state of a path that works; others: reconnect_is_delayed, resetting, failed, disabled


@dataclass(frozen=True)
class NvmePath:
    """One path. `state` is `ENABLED` while it works."""

    address: TransportAddress
    subnqn: str
    hostnqn: str
    state: str
    cntlid: int


@dataclass(frozen=True)
class RemoteController:
    """A name with all its paths; its namespaces are the bdevs `<name>n<nsid>`."""

    name: str
    paths: tuple[NvmePath, ...]


async def bdev_nvme_set_options(
    client: Caller,
    *,
    bdev_retry_count: int | None = None,
    transport_retry_count: int | None = None,
    nvme_adminq_poll_period_us: int | None = None,
) -> None:
    """Options of all remote controllers. Refused once there is one: set them first."""
    params = given(
        bdev_retry_count=bdev_retry_count,
        transport_retry_count=transport_retry_count,
        nvme_adminq_poll_period_us=nvme_adminq_poll_period_us,
    )
    done("bdev_nvme_set_options", await client.call("bdev_nvme_set_options", params))


async def bdev_nvme_attach_controller(
    client: Caller,
    *,
    name: str,
    address: TransportAddress,
    subnqn: str,
    hostnqn: str | None = None,
    multipath: str | None = None,
    num_io_queues: int | None = None,
    ctrlr_loss_timeout_sec: int | None = None,
    reconnect_delay_sec: int | None = None,
    fast_io_fail_timeout_sec: int | None = None,
    hdgst: bool | None = None,
    ddgst: bool | None = None,
) -> tuple[str, ...]:
    """Connects one path and returns the names of the bdevs that it brought, seen after 65 to 330 ms over TCP.

    With `multipath` "multipath" a second address of the same subsystem becomes a further path of the same name.
    """
    params = given(
        name=name,
        **address.params(),
        subnqn=subnqn,
        hostnqn=hostnqn,
        multipath=multipath,
        num_io_queues=num_io_queues,
        ctrlr_loss_timeout_sec=ctrlr_loss_timeout_sec,
        reconnect_delay_sec=reconnect_delay_sec,
        fast_io_fail_timeout_sec=fast_io_fail_timeout_sec,
        hdgst=hdgst,
        ddgst=ddgst,
    )
    return texts("bdev_nvme_attach_controller", await client.call("bdev_nvme_attach_controller", params))


async def bdev_nvme_detach_controller(
    client: Caller, *, name: str, address: TransportAddress | None = None, subnqn: str | None = None
) -> None:
    """Disconnects all paths of `name`, or the one at `address`; its bdevs go with the last one."""
    params = given(name=name, **(address.params() if address else {}), subnqn=subnqn)
    done("bdev_nvme_detach_controller", await client.call("bdev_nvme_detach_controller", params))


async def bdev_nvme_get_controllers(client: Caller, *, name: str | None = None) -> tuple[RemoteController, ...]:
    """All remote controllers, or the one with this name (refused where there is none)."""
    answer = await client.call("bdev_nvme_get_controllers", given(name=name))
    return each("bdev_nvme_get_controllers", answer, _remote_controller)


async def find_nvme_controller(client: Caller, name: str) -> RemoteController | None:
    """The remote controller with this name, or None: in one round.

    The read by name takes nothing but a name, so with SPDK itself in order (the client's own errors are raised) its one
    reason to refuse is that there is no such controller; recorded: -22. The whole list is 340 KB per 1,000 controllers.
    """
    try:
        return only("bdev_nvme_get_controllers", await bdev_nvme_get_controllers(client, name=name))
    except SpdkError:
        return None


def _remote_controller(controller: Fields) -> RemoteController:
    return RemoteController(controller.text("name"), controller.each("ctrlrs", _path))


def _path(path: Fields) -> NvmePath:
    trid = path.fields("trid")
    return NvmePath(
        address=transport_address(trid),
        subnqn=trid.text("subnqn"),
        hostnqn=path.fields("host").text("nqn"),
        state=path.text("state"),
        cntlid=path.number("cntlid"),
    )
