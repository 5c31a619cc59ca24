"""nvmf_*: NVMe-oF targets. On a storage node they export volumes, on a DPU they are what its Host sees."""

from dataclasses import dataclass

from dpucsi.spdk.address import TransportAddress, transport_address
from dpucsi.spdk.answers import Caller, Fields, done, each, given, number, only
from dpucsi.spdk.errors import SpdkError
from dpucsi.spdk.jsonrpc import Params

NVME_SUBTYPE = "NVMe"  # the other one is "Discovery"


@dataclass(frozen=True)
class NvmfNamespace:
    """One namespace. `bdev_name` is the bdev's own name (an lvol's uuid), whatever alias was given.

    `uuid` is 8-4-4-4-12 lower-case hex digits, `nguid` 32 upper-case ones or "" where none was given.
    """

    nsid: int
    bdev_name: str
    uuid: str
    nguid: str


@dataclass(frozen=True)
class Subsystem:
    """One subsystem with everything in it. `hosts` are the host NQNs that may connect unless `allow_any_host`.

    A discovery subsystem has no serial number, no namespaces, and a `max_namespaces` of 0.
    """

    nqn: str
    subtype: str
    listen_addresses: tuple[TransportAddress, ...]
    allow_any_host: bool
    hosts: tuple[str, ...]
    serial_number: str
    model_number: str
    max_namespaces: int
    min_cntlid: int
    max_cntlid: int
    namespaces: tuple[NvmfNamespace, ...]

    def namespace(self, nsid: int) -> NvmfNamespace | None:
        """The namespace with this id."""
        return next((namespace for namespace in self.namespaces if namespace.nsid == nsid), None)


@dataclass(frozen=True)
class NvmfController:
    """One host's session with a subsystem, as the target sees it."""

    cntlid: int
    hostnqn: str
    hostid: str
    num_io_qpairs: int


async def nvmf_get_transports(client: Caller) -> tuple[str, ...]:
    """The trtypes that listeners can have now."""
    answer = await client.call("nvmf_get_transports")
    return each("nvmf_get_transports", answer, lambda transport: transport.text("trtype"))


async def nvmf_create_transport(client: Caller, *, trtype: str) -> None:
    """Makes TCP, RDMA or VFIOUSER available to listeners; there is no way back but a restart."""
    done("nvmf_create_transport", await client.call("nvmf_create_transport", {"trtype": trtype}))


async def nvmf_set_max_subsystems(client: Caller, *, max_subsystems: int) -> None:
    """More than the 1,024 subsystems of a target. Only before framework_start_init (spdk_tgt --wait-for-rpc)."""
    params = {"max_subsystems": max_subsystems}
    done("nvmf_set_max_subsystems", await client.call("nvmf_set_max_subsystems", params))


async def nvmf_get_subsystems(client: Caller, *, nqn: str | None = None) -> tuple[Subsystem, ...]:
    """All subsystems, the discovery one included, or the one with this NQN (refused where there is none)."""
    return each("nvmf_get_subsystems", await client.call("nvmf_get_subsystems", given(nqn=nqn)), _subsystem)


async def find_subsystem(client: Caller, nqn: str) -> Subsystem | None:
    """The subsystem with this NQN, or None: in one round.

    The read by name takes nothing but the NQN and looks in the one target that every spdk_tgt has, so with SPDK itself
    in order (the client's own errors are raised) its one reason to refuse is that there is no such subsystem; recorded:
    -32602. Reading the whole list instead would cost 600 KB per 1,000 subsystems each time.
    """
    try:
        return only("nvmf_get_subsystems", await nvmf_get_subsystems(client, nqn=nqn))
    except SpdkError:
        return None


async def nvmf_create_subsystem(
    client: Caller,
    *,
    nqn: str,
    serial_number: str,
    model_number: str | None = None,
    max_namespaces: int | None = None,
    allow_any_host: bool = False,
    ana_reporting: bool | None = None,
    min_cntlid: int | None = None,
    max_cntlid: int | None = None,
) -> None:
    """Makes a subsystem that nobody may connect to yet. Serial <= 20 and model <= 40 characters."""
    params = given(
        nqn=nqn,
        serial_number=serial_number,
        model_number=model_number,
        max_namespaces=max_namespaces,
        allow_any_host=allow_any_host,
        ana_reporting=ana_reporting,
        min_cntlid=min_cntlid,
        max_cntlid=max_cntlid,
    )
    done("nvmf_create_subsystem", await client.call("nvmf_create_subsystem", params))


async def nvmf_delete_subsystem(client: Caller, *, nqn: str) -> None:
    """Deletes a subsystem with everything in it, connected hosts included."""
    done("nvmf_delete_subsystem", await client.call("nvmf_delete_subsystem", {"nqn": nqn}))


async def nvmf_subsystem_add_ns(
    client: Caller,
    *,
    nqn: str,
    bdev_name: str,
    nsid: int | None = None,
    uuid: str | None = None,
    nguid: str | None = None,
) -> int:
    """Shows a bdev as a namespace and returns its nsid. Each of `uuid` and `nguid` that is left out is the bdev's uuid.

    Give both, with the same 128 bits: what an SPDK initiator shows as the uuid of its bdev is the namespace's NGUID.
    """
    namespace = given(bdev_name=bdev_name, nsid=nsid, uuid=uuid, nguid=nguid)
    params: Params = {"nqn": nqn, "namespace": namespace}
    return number("nvmf_subsystem_add_ns", await client.call("nvmf_subsystem_add_ns", params))


async def nvmf_subsystem_remove_ns(client: Caller, *, nqn: str, nsid: int) -> None:
    """Takes a namespace away from the hosts, connected ones included."""
    done("nvmf_subsystem_remove_ns", await client.call("nvmf_subsystem_remove_ns", {"nqn": nqn, "nsid": nsid}))


async def nvmf_subsystem_add_listener(client: Caller, *, nqn: str, address: TransportAddress) -> None:
    """Lets hosts connect to the subsystem at `address`; its transport must exist."""
    params: Params = {"nqn": nqn, "listen_address": address.params()}
    done("nvmf_subsystem_add_listener", await client.call("nvmf_subsystem_add_listener", params))


async def nvmf_subsystem_remove_listener(client: Caller, *, nqn: str, address: TransportAddress) -> None:
    """Closes `address` for this subsystem, with the sessions that came in there."""
    params: Params = {"nqn": nqn, "listen_address": address.params()}
    done("nvmf_subsystem_remove_listener", await client.call("nvmf_subsystem_remove_listener", params))


async def nvmf_subsystem_add_host(client: Caller, *, nqn: str, host: str) -> None:
    """Allows the host NQN `host` to connect."""
    done("nvmf_subsystem_add_host", await client.call("nvmf_subsystem_add_host", {"nqn": nqn, "host": host}))


async def nvmf_subsystem_remove_host(client: Caller, *, nqn: str, host: str) -> None:
    """Forbids the host NQN `host` and cuts its sessions off: the fence.

    The sessions leave `nvmf_subsystem_get_controllers` a little later; the fence is proven when they have.
    """
    done("nvmf_subsystem_remove_host", await client.call("nvmf_subsystem_remove_host", {"nqn": nqn, "host": host}))


async def nvmf_subsystem_get_controllers(client: Caller, *, nqn: str) -> tuple[NvmfController, ...]:
    """The sessions that exist now. Refused where there is no such subsystem."""
    answer = await client.call("nvmf_subsystem_get_controllers", {"nqn": nqn})
    return each("nvmf_subsystem_get_controllers", answer, _controller)


def _subsystem(subsystem: Fields) -> Subsystem:
    subtype = subsystem.text("subtype")
    lacks = None if subtype == NVME_SUBTYPE else 0
    return Subsystem(
        nqn=subsystem.text("nqn"),
        subtype=subtype,
        listen_addresses=subsystem.each("listen_addresses", transport_address),
        allow_any_host=subsystem.flag("allow_any_host"),
        hosts=subsystem.each("hosts", lambda host: host.text("nqn")),
        serial_number=subsystem.text("serial_number", None if lacks is None else ""),
        model_number=subsystem.text("model_number", None if lacks is None else ""),
        max_namespaces=subsystem.number("max_namespaces", lacks),
        min_cntlid=subsystem.number("min_cntlid", lacks),
        max_cntlid=subsystem.number("max_cntlid", lacks),
        namespaces=subsystem.each("namespaces", _namespace),
    )


def _namespace(namespace: Fields) -> NvmfNamespace:
    return NvmfNamespace(
        nsid=namespace.number("nsid"),
        bdev_name=namespace.text("bdev_name"),
        uuid=namespace.text("uuid"),
        nguid=namespace.text("nguid", ""),
    )


def _controller(controller: Fields) -> NvmfController:
    return NvmfController(
        cntlid=controller.number("cntlid"),
        hostnqn=controller.text("hostnqn"),
        hostid=controller.text("hostid"),
        num_io_qpairs=controller.number("num_io_qpairs"),
    )
