"""The host side: the subsystem and controller of a PCIe function, and the namespaces that a Host sees on it."""

from uuid import UUID

from google.protobuf.wrappers_pb2 import Int32Value

from dpucsi import naming
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.model import HostFunction
from dpucsi.opi.client import OpiClient

COLLECTION = "nvmeSubsystems"


async def ensure_subsystem(opi: OpiClient, function: HostFunction, spec: pb.NvmeSubsystemSpec) -> str:
    """The subsystem behind one function; its OPI name."""
    wanted = pb.NvmeSubsystem(spec=spec)
    request = pb.CreateNvmeSubsystemRequest(nvme_subsystem=wanted, nvme_subsystem_id=str(function))
    return await opi.ensure(
        COLLECTION,
        str(function),
        wanted,
        create=lambda: opi.call(opi.frontend.CreateNvmeSubsystem, request),
        get=lambda name: opi.call(opi.frontend.GetNvmeSubsystem, pb.GetNvmeSubsystemRequest(name=name)),
        listed=lambda: list_subsystems(opi),
    )


async def remove_subsystem(opi: OpiClient, function: HostFunction) -> None:
    """Takes away the subsystem behind one function."""
    await opi.remove(
        COLLECTION,
        str(function),
        delete=lambda name: opi.call(
            opi.frontend.DeleteNvmeSubsystem, pb.DeleteNvmeSubsystemRequest(name=name, allow_missing=True)
        ),
        listed=lambda: list_subsystems(opi),
    )


async def list_subsystems(opi: OpiClient) -> list[pb.NvmeSubsystem]:
    """All that the server has, ours or not."""
    return await opi.pages(opi.frontend.ListNvmeSubsystems, pb.ListNvmeSubsystemsRequest(), "nvme_subsystems")


async def subsystem_name(opi: OpiClient, function: HostFunction) -> str:
    """The OPI name of the subsystem behind one function."""
    return await opi.name_of(COLLECTION, str(function), lambda: list_subsystems(opi))


async def ensure_controller(opi: OpiClient, subsystem: str, function: HostFunction) -> str:
    """Puts the subsystem on its function: from now on the Host sees an NVMe device there."""
    endpoint = common.PciEndpoint(
        port_id=Int32Value(value=function.port),
        physical_function=Int32Value(value=function.pf),
        virtual_function=Int32Value(value=function.vf),
    )
    wanted = pb.NvmeController(spec=pb.NvmeControllerSpec(trtype=common.NVME_TRANSPORT_TYPE_PCIE, pcie_id=endpoint))
    request = pb.CreateNvmeControllerRequest(parent=subsystem, nvme_controller=wanted, nvme_controller_id=str(function))
    return await opi.ensure(
        f"{subsystem}/nvmeControllers",
        str(function),
        wanted,
        create=lambda: opi.call(opi.frontend.CreateNvmeController, request),
        get=lambda name: opi.call(opi.frontend.GetNvmeController, pb.GetNvmeControllerRequest(name=name)),
        listed=lambda: list_controllers(opi, subsystem),
    )


async def remove_controller(opi: OpiClient, function: HostFunction) -> None:
    """Takes the NVMe device off its function."""
    subsystem = await subsystem_name(opi, function)
    await opi.remove(
        f"{subsystem}/nvmeControllers",
        str(function),
        delete=lambda name: opi.call(
            opi.frontend.DeleteNvmeController, pb.DeleteNvmeControllerRequest(name=name, allow_missing=True)
        ),
        listed=lambda: list_controllers(opi, subsystem),
    )


async def list_controllers(opi: OpiClient, subsystem: str) -> list[pb.NvmeController]:
    """All controllers of one subsystem."""
    request = pb.ListNvmeControllersRequest(parent=subsystem)
    return await opi.pages(opi.frontend.ListNvmeControllers, request, "nvme_controllers")


async def ensure_namespace(opi: OpiClient, subsystem: str, uuid: UUID, nsid: int, volume: str) -> str:
    """Shows the volume named `volume` (OPI name of its remote namespace) to the Host as namespace `nsid`."""
    wanted = pb.NvmeNamespace(
        spec=pb.NvmeNamespaceSpec(host_nsid=nsid, uuid=str(uuid), nguid=naming.nguid(uuid), volume_name_ref=volume)
    )
    resource_id = naming.opi_namespace(uuid)
    request = pb.CreateNvmeNamespaceRequest(parent=subsystem, nvme_namespace=wanted, nvme_namespace_id=resource_id)
    return await opi.ensure(
        f"{subsystem}/nvmeNamespaces",
        resource_id,
        wanted,
        create=lambda: opi.call(opi.frontend.CreateNvmeNamespace, request),
        get=lambda name: opi.call(opi.frontend.GetNvmeNamespace, pb.GetNvmeNamespaceRequest(name=name)),
        listed=lambda: list_namespaces(opi, subsystem),
    )


async def remove_namespace(opi: OpiClient, function: HostFunction, uuid: UUID) -> None:
    """Takes the volume off its function: the Host's disk goes."""
    subsystem = await subsystem_name(opi, function)
    await opi.remove(
        f"{subsystem}/nvmeNamespaces",
        naming.opi_namespace(uuid),
        delete=lambda name: opi.call(
            opi.frontend.DeleteNvmeNamespace, pb.DeleteNvmeNamespaceRequest(name=name, allow_missing=True)
        ),
        listed=lambda: list_namespaces(opi, subsystem),
    )


async def list_namespaces(opi: OpiClient, subsystem: str) -> list[pb.NvmeNamespace]:
    """All namespaces of one subsystem."""
    request = pb.ListNvmeNamespacesRequest(parent=subsystem)
    return await opi.pages(opi.frontend.ListNvmeNamespaces, request, "nvme_namespaces")
