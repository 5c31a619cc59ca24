# ruff: noqa: N802 - the interface files name the methods
"""FrontendNvmeService on the wire: each call is one verb of the engine for one kind."""

from typing import Any

from google.protobuf.empty_pb2 import Empty

from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2_grpc as pb_grpc
from dpucsi.errors import UnimplementedError
from dpucsi.spdk import SpdkClient
from opi_bridge import fields
from opi_bridge.engine import Engine
from opi_bridge.kinds.nvme_controller import ControllerKind
from opi_bridge.kinds.nvme_namespace import NamespaceKind
from opi_bridge.kinds.nvme_subsystem import SubsystemKind
from opi_bridge.objects import Objects
from opi_bridge.stats import stats_of


class FrontendNvmeServicer(pb_grpc.FrontendNvmeServiceServicer):
    """What the Host sees."""

    def __init__(
        self,
        engine: Engine,
        *,
        client: SpdkClient,
        objects: Objects,
        subsystems: SubsystemKind,
        controllers: ControllerKind,
        namespaces: NamespaceKind,
    ) -> None:
        self._engine = engine
        self._client = client
        self._objects = objects
        self._subsystems = subsystems
        self._controllers = controllers
        self._namespaces = namespaces

    async def CreateNvmeSubsystem(self, request: pb.CreateNvmeSubsystemRequest, context: Any) -> pb.NvmeSubsystem:
        """See Engine.create."""
        return await self._engine.create(self._subsystems, request)

    async def GetNvmeSubsystem(self, request: pb.GetNvmeSubsystemRequest, context: Any) -> pb.NvmeSubsystem:
        """See Engine.get."""
        return await self._engine.get(self._subsystems, request)

    async def ListNvmeSubsystems(
        self, request: pb.ListNvmeSubsystemsRequest, context: Any
    ) -> pb.ListNvmeSubsystemsResponse:
        """See Engine.page."""
        response: pb.ListNvmeSubsystemsResponse = await self._engine.page(
            self._subsystems, request, pb.ListNvmeSubsystemsResponse()
        )
        return response

    async def UpdateNvmeSubsystem(self, request: pb.UpdateNvmeSubsystemRequest, context: Any) -> pb.NvmeSubsystem:
        """See Engine.update."""
        return await self._engine.update(self._subsystems, request)

    async def DeleteNvmeSubsystem(self, request: pb.DeleteNvmeSubsystemRequest, context: Any) -> Empty:
        """See Engine.delete."""
        await self._engine.delete(self._subsystems, request)
        return Empty()

    async def StatsNvmeSubsystem(
        self, request: pb.StatsNvmeSubsystemRequest, context: Any
    ) -> pb.StatsNvmeSubsystemResponse:
        """Not offered."""
        raise UnimplementedError(
            "SPDK has no figures of a whole subsystem; ask StatsNvmeNamespace of each of its namespaces"
        )

    async def CreateNvmeController(self, request: pb.CreateNvmeControllerRequest, context: Any) -> pb.NvmeController:
        """See Engine.create."""
        return await self._engine.create(self._controllers, request)

    async def GetNvmeController(self, request: pb.GetNvmeControllerRequest, context: Any) -> pb.NvmeController:
        """See Engine.get."""
        return await self._engine.get(self._controllers, request)

    async def ListNvmeControllers(
        self, request: pb.ListNvmeControllersRequest, context: Any
    ) -> pb.ListNvmeControllersResponse:
        """See Engine.page."""
        response: pb.ListNvmeControllersResponse = await self._engine.page(
            self._controllers, request, pb.ListNvmeControllersResponse()
        )
        return response

    async def UpdateNvmeController(self, request: pb.UpdateNvmeControllerRequest, context: Any) -> pb.NvmeController:
        """See Engine.update."""
        return await self._engine.update(self._controllers, request)

    async def DeleteNvmeController(self, request: pb.DeleteNvmeControllerRequest, context: Any) -> Empty:
        """See Engine.delete."""
        await self._engine.delete(self._controllers, request)
        return Empty()

    async def StatsNvmeController(
        self, request: pb.StatsNvmeControllerRequest, context: Any
    ) -> pb.StatsNvmeControllerResponse:
        """Not offered."""
        raise UnimplementedError("SPDK has no figures of a controller; ask StatsNvmeNamespace of each namespace on it")

    async def CreateNvmeNamespace(self, request: pb.CreateNvmeNamespaceRequest, context: Any) -> pb.NvmeNamespace:
        """See Engine.create."""
        return await self._engine.create(self._namespaces, request)

    async def GetNvmeNamespace(self, request: pb.GetNvmeNamespaceRequest, context: Any) -> pb.NvmeNamespace:
        """See Engine.get."""
        return await self._engine.get(self._namespaces, request)

    async def ListNvmeNamespaces(
        self, request: pb.ListNvmeNamespacesRequest, context: Any
    ) -> pb.ListNvmeNamespacesResponse:
        """See Engine.page."""
        response: pb.ListNvmeNamespacesResponse = await self._engine.page(
            self._namespaces, request, pb.ListNvmeNamespacesResponse()
        )
        return response

    async def UpdateNvmeNamespace(self, request: pb.UpdateNvmeNamespaceRequest, context: Any) -> pb.NvmeNamespace:
        """See Engine.update."""
        return await self._engine.update(self._namespaces, request)

    async def DeleteNvmeNamespace(self, request: pb.DeleteNvmeNamespaceRequest, context: Any) -> Empty:
        """See Engine.delete."""
        await self._engine.delete(self._namespaces, request)
        return Empty()

    async def StatsNvmeNamespace(
        self, request: pb.StatsNvmeNamespaceRequest, context: Any
    ) -> pb.StatsNvmeNamespaceResponse:
        """The figures of its bdev."""
        fields.check(request, "")
        spec = self._objects.get(self._namespaces.pattern.check(request.name)).resource.spec
        stats = await stats_of(self._client, request.name, spec.uuid or spec.volume_name_ref)
        return pb.StatsNvmeNamespaceResponse(stats=stats)
