"""A bridge in this process, served on a unix socket, between two SPDK processes."""

import contextlib
from pathlib import Path
from uuid import NAMESPACE_DNS, UUID, uuid5

import grpc
from google.protobuf.wrappers_pb2 import Int32Value
from tests.contract.spdk.spdk_process import SpdkProcess

from dpucsi import naming
from dpucsi.aio import wait_until
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as remote_pb
from dpucsi.api.opi.storage.v1 import backend_nvme_pb2_grpc, frontend_nvme_pb2_grpc
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as frontend_pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.dpus import DpuDriver
from dpucsi.errors import UnavailableError
from dpucsi.model import HostFunction
from dpucsi.rpc.server import build
from dpucsi.spdk import SpdkClient, bdev, lvol, nvmf
from dpucsi.spdk.address import TransportAddress
from dpucsi.testing.ports import free_port
from opi_bridge.app import Bridge, running_bridge
from opi_bridge.config import Config

SUBNQN = "nqn.2024-01.io.dpucsi:host:test"
HOSTNQN = "nqn.2024-01.io.dpucsi:dpu:0f0e0d0c-0b0a-4908-8706-050403020100:00000001"
ADDRESSES = ("127.0.0.1", "127.0.0.2")
FIRST = HostFunction(0, 0)


def volume(number: int) -> UUID:
    return uuid5(NAMESPACE_DNS, f"volume {number}")


class Bench:
    """`restart_bridge` ends the bridge without a goodbye to SPDK and starts another one on the same records."""

    def __init__(
        self,
        folder: Path,
        driver: DpuDriver,
        dpu_process: SpdkProcess,
        storage_process: SpdkProcess,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self.driver = driver
        self.dpu_process = dpu_process
        self.config = Config(
            listen=(), spdk=dpu_process.endpoint, state=folder / "opi.db", driver="given", reconcile_interval=1.0
        )
        self.address = f"unix:{folder}/opi.sock"
        self._stack = stack
        self._port = free_port()  # the storage node's, at both of its addresses
        self._storage_endpoint = storage_process.endpoint
        self._disk = folder / "disk0.img"
        self._running: contextlib.AsyncExitStack | None = None
        self.bridge: Bridge

    async def start(self) -> None:
        self.storage = await self._stack.enter_async_context(SpdkClient(self._storage_endpoint, name="storage"))
        self.dpu = await self._stack.enter_async_context(SpdkClient(self.dpu_process.endpoint, name="DPU"))
        await nvmf.nvmf_create_transport(self.storage, trtype="TCP")
        with self._disk.open("wb") as file:
            file.truncate(1 << 30)
        await bdev.bdev_aio_create(self.storage, name="disk0", filename=str(self._disk), block_size=4096)
        await lvol.bdev_lvol_create_lvstore(self.storage, bdev_name="disk0", lvs_name="lvs0", clear_method="none")
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(self.address))
        self.remote = backend_nvme_pb2_grpc.NvmeRemoteControllerServiceStub(channel)
        self.frontend = frontend_nvme_pb2_grpc.FrontendNvmeServiceStub(channel)
        await self.start_bridge()
        self._stack.push_async_callback(self.stop_bridge)

    async def start_bridge(self) -> None:
        self._running = contextlib.AsyncExitStack()
        self.bridge = await self._running.enter_async_context(running_bridge(self.config, self.driver))
        server = build(self.bridge.services)
        server.add_insecure_port(self.address)
        await server.start()
        self._running.push_async_callback(server.stop, 1.0)

    async def stop_bridge(self) -> None:
        if self._running is not None:
            await self._running.aclose()
            self._running = None

    async def export(self, number: int, *, hosts: tuple[str, ...] = (HOSTNQN,)) -> None:
        """One volume on the storage node, as csi-controller leaves it."""
        uuid, nqn = volume(number), naming.subnqn(volume(number))
        name = await lvol.bdev_lvol_create(
            self.storage, lvs_name="lvs0", lvol_name=naming.lvol_name(uuid), size_in_mib=4, thin_provision=True
        )
        await nvmf.nvmf_create_subsystem(self.storage, nqn=nqn, serial_number=naming.serial(uuid))
        await nvmf.nvmf_subsystem_add_ns(
            self.storage, nqn=nqn, bdev_name=name, nsid=1, uuid=str(uuid), nguid=naming.nguid(uuid)
        )
        for host in hosts:
            await nvmf.nvmf_subsystem_add_host(self.storage, nqn=nqn, host=host)
        for traddr in ADDRESSES:
            address = TransportAddress("TCP", traddr, str(self._port), "IPv4")
            await nvmf.nvmf_subsystem_add_listener(self.storage, nqn=nqn, address=address)

    async def create_function(self, function: HostFunction = FIRST) -> str:
        """A subsystem on a function; the subsystem's name."""
        subsystem = await self.frontend.CreateNvmeSubsystem(subsystem_request())
        await self.frontend.CreateNvmeController(controller_request(subsystem.name, function))
        return str(subsystem.name)

    async def attach(self, number: int, nsid: int = 0) -> None:
        """What the attacher does for one volume on a function that exists."""
        await self.remote.CreateNvmeRemoteController(remote_controller_request(number))
        await self.remote.CreateNvmePath(self.path_request(number))
        await self.frontend.CreateNvmeNamespace(namespace_request(number, nsid or number))

    def path_request(
        self, number: int, *, traddr: str = "127.0.0.1", path_id: str = "path-1"
    ) -> remote_pb.CreateNvmePathRequest:
        fabrics = remote_pb.FabricsPath(
            trsvcid=self._port,
            subnqn=naming.subnqn(volume(number)),
            adrfam=common.NVME_ADDRESS_FAMILY_IPV4,
            hostnqn=HOSTNQN,
        )
        path = remote_pb.NvmePath(trtype=common.NVME_TRANSPORT_TYPE_TCP, traddr=traddr, fabrics=fabrics)
        parent = f"nvmeRemoteControllers/vol-{volume(number)}"
        return remote_pb.CreateNvmePathRequest(parent=parent, nvme_path=path, nvme_path_id=path_id)

    async def detach(self, number: int) -> None:
        name = f"nvmeSubsystems/host/nvmeNamespaces/vol-{volume(number)}"
        await self.frontend.DeleteNvmeNamespace(frontend_pb.DeleteNvmeNamespaceRequest(name=name))
        controller = f"nvmeRemoteControllers/vol-{volume(number)}"
        await self.remote.DeleteNvmePath(remote_pb.DeleteNvmePathRequest(name=f"{controller}/nvmePaths/path-1"))
        await self.remote.DeleteNvmeRemoteController(remote_pb.DeleteNvmeRemoteControllerRequest(name=controller))

    async def function_is(self, *numbers: int, timeout_s: float = 30.0) -> nvmf.Subsystem:
        """Waits until the host-facing subsystem shows exactly these volumes, at these nsids, and is on its function."""

        async def look() -> nvmf.Subsystem | None:
            try:
                seen = await nvmf.find_subsystem(self.dpu, SUBNQN)
            except UnavailableError:  # killed by the test
                return None
            wanted = [(n, str(volume(n)), naming.nguid(volume(n))) for n in numbers]
            if seen is None or not seen.listen_addresses:
                return None
            return seen if sorted((n.nsid, n.uuid, n.nguid) for n in seen.namespaces) == wanted else None

        return await wait_until(look, f"{SUBNQN} with {numbers}", timeout_s=timeout_s)


def subsystem_request() -> frontend_pb.CreateNvmeSubsystemRequest:
    spec = frontend_pb.NvmeSubsystemSpec(nqn=SUBNQN, serial_number="SERIAL1", model_number="model", max_namespaces=250)
    subsystem = frontend_pb.NvmeSubsystem(spec=spec)
    return frontend_pb.CreateNvmeSubsystemRequest(nvme_subsystem=subsystem, nvme_subsystem_id="host")


def controller_request(parent: str, function: HostFunction) -> frontend_pb.CreateNvmeControllerRequest:
    pcie = common.PciEndpoint(
        port_id=Int32Value(value=function.port),
        physical_function=Int32Value(value=function.pf),
        virtual_function=Int32Value(value=function.vf),
    )
    spec = frontend_pb.NvmeControllerSpec(trtype=common.NVME_TRANSPORT_TYPE_PCIE, pcie_id=pcie)
    return frontend_pb.CreateNvmeControllerRequest(
        parent=parent, nvme_controller=frontend_pb.NvmeController(spec=spec), nvme_controller_id=str(function)
    )


def remote_controller_request(number: int) -> remote_pb.CreateNvmeRemoteControllerRequest:
    controller = remote_pb.NvmeRemoteController(multipath=remote_pb.NVME_MULTIPATH_MULTIPATH)
    return remote_pb.CreateNvmeRemoteControllerRequest(
        nvme_remote_controller=controller, nvme_remote_controller_id=f"vol-{volume(number)}"
    )


def namespace_request(number: int, nsid: int) -> frontend_pb.CreateNvmeNamespaceRequest:
    uuid = volume(number)
    ref = f"nvmeRemoteControllers/vol-{uuid}/nvmeRemoteNamespaces/{uuid}"
    spec = frontend_pb.NvmeNamespaceSpec(host_nsid=nsid, uuid=str(uuid), nguid=naming.nguid(uuid), volume_name_ref=ref)
    return frontend_pb.CreateNvmeNamespaceRequest(
        parent="nvmeSubsystems/host",
        nvme_namespace=frontend_pb.NvmeNamespace(spec=spec),
        nvme_namespace_id=f"vol-{uuid}",
    )
