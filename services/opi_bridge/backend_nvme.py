# ruff: noqa: N802 - the interface files name the methods
"""NvmeRemoteControllerService on the wire: each call is one verb of the engine for one kind."""

from typing import Any

from google.protobuf.empty_pb2 import Empty

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2_grpc as pb_grpc
from dpucsi.errors import UnimplementedError
from opi_bridge.engine import Engine
from opi_bridge.kinds.nvme_path import PathKind
from opi_bridge.kinds.remote_controller import RemoteControllerKind
from opi_bridge.kinds.remote_namespace import RemoteNamespaces


class NvmeRemoteControllerServicer(pb_grpc.NvmeRemoteControllerServiceServicer):
    """What comes over the network."""

    def __init__(
        self,
        engine: Engine,
        remote_controllers: RemoteControllerKind,
        paths: PathKind,
        remote_namespaces: RemoteNamespaces,
    ) -> None:
        self._engine = engine
        self._remote_controllers = remote_controllers
        self._paths = paths
        self._remote_namespaces = remote_namespaces

    async def CreateNvmeRemoteController(
        self, request: pb.CreateNvmeRemoteControllerRequest, context: Any
    ) -> pb.NvmeRemoteController:
        """See Engine.create."""
        return await self._engine.create(self._remote_controllers, request)

    async def GetNvmeRemoteController(
        self, request: pb.GetNvmeRemoteControllerRequest, context: Any
    ) -> pb.NvmeRemoteController:
        """See Engine.get."""
        return await self._engine.get(self._remote_controllers, request)

    async def ListNvmeRemoteControllers(
        self, request: pb.ListNvmeRemoteControllersRequest, context: Any
    ) -> pb.ListNvmeRemoteControllersResponse:
        """See Engine.page."""
        response: pb.ListNvmeRemoteControllersResponse = await self._engine.page(
            self._remote_controllers, request, pb.ListNvmeRemoteControllersResponse()
        )
        return response

    async def UpdateNvmeRemoteController(
        self, request: pb.UpdateNvmeRemoteControllerRequest, context: Any
    ) -> pb.NvmeRemoteController:
        """See Engine.update."""
        return await self._engine.update(self._remote_controllers, request)

    async def DeleteNvmeRemoteController(self, request: pb.DeleteNvmeRemoteControllerRequest, context: Any) -> Empty:
        """See Engine.delete."""
        await self._engine.delete(self._remote_controllers, request)
        return Empty()

    async def ResetNvmeRemoteController(self, request: pb.ResetNvmeRemoteControllerRequest, context: Any) -> Empty:
        """Not offered."""
        raise UnimplementedError("a reset is not offered: SPDK resets and reconnects a controller by itself")

    async def StatsNvmeRemoteController(
        self, request: pb.StatsNvmeRemoteControllerRequest, context: Any
    ) -> pb.StatsNvmeRemoteControllerResponse:
        """Not offered."""
        raise UnimplementedError("SPDK has no figures of a whole remote controller; ask StatsNvmeNamespace")

    async def CreateNvmePath(self, request: pb.CreateNvmePathRequest, context: Any) -> pb.NvmePath:
        """See Engine.create."""
        return await self._engine.create(self._paths, request)

    async def GetNvmePath(self, request: pb.GetNvmePathRequest, context: Any) -> pb.NvmePath:
        """See Engine.get."""
        return await self._engine.get(self._paths, request)

    async def ListNvmePaths(self, request: pb.ListNvmePathsRequest, context: Any) -> pb.ListNvmePathsResponse:
        """See Engine.page."""
        response: pb.ListNvmePathsResponse = await self._engine.page(self._paths, request, pb.ListNvmePathsResponse())
        return response

    async def UpdateNvmePath(self, request: pb.UpdateNvmePathRequest, context: Any) -> pb.NvmePath:
        """See Engine.update."""
        return await self._engine.update(self._paths, request)

    async def DeleteNvmePath(self, request: pb.DeleteNvmePathRequest, context: Any) -> Empty:
        """See Engine.delete."""
        await self._engine.delete(self._paths, request)
        return Empty()

    async def StatsNvmePath(self, request: pb.StatsNvmePathRequest, context: Any) -> pb.StatsNvmePathResponse:
        """Not offered."""
        raise UnimplementedError("figures of one path are not offered; ask StatsNvmeNamespace")

    async def GetNvmeRemoteNamespace(
        self, request: pb.GetNvmeRemoteNamespaceRequest, context: Any
    ) -> pb.NvmeRemoteNamespace:
        """See RemoteNamespaces.get."""
        return await self._remote_namespaces.get(request)

    async def ListNvmeRemoteNamespaces(
        self, request: pb.ListNvmeRemoteNamespacesRequest, context: Any
    ) -> pb.ListNvmeRemoteNamespacesResponse:
        """See RemoteNamespaces.list."""
        return await self._remote_namespaces.list(request)
