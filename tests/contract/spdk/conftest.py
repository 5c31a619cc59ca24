"""Storage node and DPU, as two processes: emulated always, real where the environment's SPDK_TGT names a spdk_tgt.

The assertions are the same for both; a difference is a bug of the emulator.
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from spdk.rpc.client import JSONRPCClient
from tests.contract.spdk.spdk_process import KINDS, SpdkProcess

from dpucsi.spdk import SpdkClient, nvmf
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.bdev import bdev_aio_create
from dpucsi.spdk.lvol import bdev_lvol_create_lvstore
from dpucsi.testing.ports import free_port
from dpucsi.testing.spdk_command import real_spdk

_names = count(1)


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "real" and real_spdk() is None:
        pytest.skip("SPDK_TGT names no spdk_tgt")
    return str(request.param)


@pytest.fixture
def make_process(kind: str) -> Iterator[Callable[..., SpdkProcess]]:
    """Starts processes that end with the test. Their folders are short: a socket's path has 107 bytes."""
    made: list[SpdkProcess] = []
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:

        def make(options: tuple[str, ...] = ()) -> SpdkProcess:
            own = Path(folder) / str(len(made))
            own.mkdir()
            process = SpdkProcess(kind, own, core=len(made) % 2, options=options)
            made.append(process)
            process.start()
            return process

        yield make
        for process in made:
            process.stop()


@pytest.fixture(scope="session")
def processes(kind: str) -> Iterator[dict[str, SpdkProcess]]:
    """The two that most tests share, each test under names of its own."""
    with tempfile.TemporaryDirectory(prefix="spdk-") as folder:
        both = {}
        for core, name in enumerate(("storage", "dpu")):
            (Path(folder) / name).mkdir()
            both[name] = SpdkProcess(kind, Path(folder) / name, core)
            both[name].start()
        yield both
        for process in both.values():
            process.stop()


@pytest.fixture(scope="session")
def storage_process(processes: dict[str, SpdkProcess]) -> SpdkProcess:
    return processes["storage"]


@pytest.fixture(scope="session")
def dpu_process(processes: dict[str, SpdkProcess]) -> SpdkProcess:
    return processes["dpu"]


@pytest.fixture
async def storage(storage_process: SpdkProcess) -> AsyncIterator[SpdkClient]:
    """A storage node with a TCP transport and the lvol store `lvs0`."""
    async with SpdkClient(storage_process.endpoint, name="storage node") as client:
        if "TCP" not in await nvmf.nvmf_get_transports(client):
            await make_storage_node(client, storage_process)
        yield client


async def make_storage_node(client: SpdkClient, process: SpdkProcess, mib: int = 1024) -> None:
    await nvmf.nvmf_create_transport(client, trtype="TCP")
    await bdev_aio_create(client, name="disk0", filename=str(process.image("disk0.img", mib)), block_size=4096)
    await bdev_lvol_create_lvstore(client, bdev_name="disk0", lvs_name="lvs0", cluster_sz=1 << 20, clear_method="none")


@pytest.fixture
async def dpu(dpu_process: SpdkProcess) -> AsyncIterator[SpdkClient]:
    async with SpdkClient(dpu_process.endpoint, name="DPU") as client:
        yield client


@pytest.fixture
def own_voice(storage_process: SpdkProcess, storage: SpdkClient) -> Iterator[JSONRPCClient]:
    """SPDK's own client on the storage node: a second opinion about what ours has done."""
    voice = JSONRPCClient(str(storage_process.socket), timeout=10)
    yield voice
    voice.close()


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"t{next(_names)}"


@pytest.fixture
def nqn(name: str) -> str:
    return f"nqn.2024-01.io.dpucsi:vol:{uuid4()}"


@pytest.fixture
def address() -> TransportAddress:
    """A TCP address of this machine that nobody listens at."""
    return TransportAddress("TCP", "127.0.0.1", str(free_port()), "IPv4")
