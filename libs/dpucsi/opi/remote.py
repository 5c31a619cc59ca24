"""The network side: remote controllers, their paths, and the remote namespaces that appear behind them."""

import asyncio
from uuid import UUID

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.errors import NotFoundError, TimedOutError, UnavailableError
from dpucsi.model import AttachSpec, TargetPath
from dpucsi.opi.client import OpiClient, id_of

COLLECTION = "nvmeRemoteControllers"
NAMESPACE_S = 10.0  # a connected controller shows its namespaces within one admin queue poll
_TRTYPE = {"TCP": common.NVME_TRANSPORT_TYPE_TCP, "RDMA": common.NVME_TRANSPORT_TYPE_RDMA}
_ADRFAM = {"IPv4": common.NVME_ADDRESS_FAMILY_IPV4, "IPv6": common.NVME_ADDRESS_FAMILY_IPV6}


async def ensure_remote_controller(opi: OpiClient, uuid: UUID) -> str:
    """The remote controller of one volume, ready for any number of paths; its OPI name."""
    wanted = pb.NvmeRemoteController(multipath=pb.NVME_MULTIPATH_MULTIPATH)
    resource_id = naming.opi_remote_controller(uuid)
    request = pb.CreateNvmeRemoteControllerRequest(nvme_remote_controller=wanted, nvme_remote_controller_id=resource_id)
    return await opi.ensure(
        COLLECTION,
        resource_id,
        wanted,
        create=lambda: opi.call(opi.remote.CreateNvmeRemoteController, request),
        get=lambda name: opi.call(opi.remote.GetNvmeRemoteController, pb.GetNvmeRemoteControllerRequest(name=name)),
        listed=lambda: list_remote_controllers(opi),
    )


async def remove_remote_controller(opi: OpiClient, uuid: UUID) -> None:
    """Takes away the remote controller of one volume."""
    await opi.remove(
        COLLECTION,
        naming.opi_remote_controller(uuid),
        delete=lambda name: opi.call(
            opi.remote.DeleteNvmeRemoteController, pb.DeleteNvmeRemoteControllerRequest(name=name, allow_missing=True)
        ),
        listed=lambda: list_remote_controllers(opi),
    )


async def list_remote_controllers(opi: OpiClient) -> list[pb.NvmeRemoteController]:
    """All that the server has, ours or not."""
    request = pb.ListNvmeRemoteControllersRequest()
    return await opi.pages(opi.remote.ListNvmeRemoteControllers, request, "nvme_remote_controllers")


async def remote_controller_name(opi: OpiClient, uuid: UUID) -> str:
    """The OPI name of the remote controller of one volume."""
    return await opi.name_of(COLLECTION, naming.opi_remote_controller(uuid), lambda: list_remote_controllers(opi))


async def disconnect(opi: OpiClient, spec: AttachSpec) -> None:
    """Takes away every path of a volume, then its remote controller."""
    await remove_paths(opi, spec)
    await remove_remote_controller(opi, spec.uuid)


async def remove_paths(opi: OpiClient, spec: AttachSpec) -> None:
    """Disconnects a volume."""
    await asyncio.gather(*(remove_path(opi, spec.uuid, path) for path in spec.paths))


async def remote_controller_exists(opi: OpiClient, uuid: UUID) -> bool:
    """Whether the server has a remote controller for this volume, under the name that OPI implies."""
    name = f"{COLLECTION}/{naming.opi_remote_controller(uuid)}"
    try:
        await opi.call(opi.remote.GetNvmeRemoteController, pb.GetNvmeRemoteControllerRequest(name=name))
    except NotFoundError:
        return False
    return True


async def ensure_path(opi: OpiClient, controller: str, spec: AttachSpec, path: TargetPath) -> str:
    """Connects one path of the remote controller named `controller`. UnavailableError: the target does not let us."""
    wanted = pb.NvmePath(
        trtype=_TRTYPE[path.trtype],
        traddr=path.traddr,
        fabrics=pb.FabricsPath(
            trsvcid=int(path.trsvcid), subnqn=spec.subnqn, adrfam=_ADRFAM[path.adrfam], hostnqn=spec.hostnqn
        ),
    )
    resource_id = naming.opi_path(spec.uuid, path.traddr, path.trsvcid)
    request = pb.CreateNvmePathRequest(parent=controller, nvme_path=wanted, nvme_path_id=resource_id)
    return await opi.ensure(
        f"{controller}/nvmePaths",
        resource_id,
        wanted,
        create=lambda: opi.call(opi.remote.CreateNvmePath, request),
        get=lambda name: opi.call(opi.remote.GetNvmePath, pb.GetNvmePathRequest(name=name)),
        listed=lambda: list_paths(opi, controller),
    )


async def remove_path(opi: OpiClient, uuid: UUID, path: TargetPath) -> None:
    """Disconnects one path of a volume."""
    controller = await remote_controller_name(opi, uuid)
    await opi.remove(
        f"{controller}/nvmePaths",
        naming.opi_path(uuid, path.traddr, path.trsvcid),
        delete=lambda name: opi.call(
            opi.remote.DeleteNvmePath, pb.DeleteNvmePathRequest(name=name, allow_missing=True)
        ),
        listed=lambda: list_paths(opi, controller),
    )


async def list_paths(opi: OpiClient, controller: str) -> list[pb.NvmePath]:
    """All paths of one remote controller."""
    return await opi.pages(opi.remote.ListNvmePaths, pb.ListNvmePathsRequest(parent=controller), "nvme_paths")


def target_path(path: pb.NvmePath) -> TargetPath:
    """An OPI path of the network as our own value."""
    trtype = next((name for name, number in _TRTYPE.items() if number == path.trtype), "TCP")
    adrfam = next((name for name, number in _ADRFAM.items() if number == path.fabrics.adrfam), "IPv4")
    return TargetPath(path.traddr, str(path.fabrics.trsvcid), trtype, adrfam)


async def wait_remote_namespace(opi: OpiClient, controller: str, uuid: UUID) -> str:
    """The OPI name of the remote namespace that shows `uuid`, once it is there.

    By its uuid and nothing else: a target may show another volume at the same nsid, under the same bdev name.
    Raises UnavailableError that says which uuids are there instead.
    """
    shown: list[str] = []

    async def look() -> str | None:
        request = pb.ListNvmeRemoteNamespacesRequest(parent=controller)
        listed = await opi.pages(opi.remote.ListNvmeRemoteNamespaces, request, "nvme_remote_namespaces")
        shown[:] = [namespace.uuid for namespace in listed]
        return next((namespace.name for namespace in listed if namespace.uuid.lower() == str(uuid)), None)

    try:
        return await wait_until(look, f"namespace {uuid} of {controller}", timeout_s=NAMESPACE_S)
    except TimedOutError as late:
        raise UnavailableError(
            f"remote controller {id_of(controller)} shows no namespace with uuid {uuid}, but {shown or 'none at all'}; "
            "check what the storage node exports"
        ) from late
