"""What counts as a difference between what was asked and what an OPI server has."""

import pytest
from google.protobuf.wrappers_pb2 import Int32Value

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as remote
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as frontend
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.errors import FailedPreconditionError
from dpucsi.opi.compare import refuse_difference


def path(**fields) -> remote.NvmePath:
    fabrics = remote.FabricsPath(trsvcid=4420, subnqn="nqn.2024-01.org:a", hostnqn=fields.pop("hostnqn", ""))
    return remote.NvmePath(trtype=common.NVME_TRANSPORT_TYPE_TCP, traddr="192.0.2.1", fabrics=fabrics, **fields)


def on(vf: int | None) -> frontend.NvmeController:
    endpoint = common.PciEndpoint(port_id=Int32Value(), physical_function=Int32Value())
    if vf is not None:
        endpoint.virtual_function.CopyFrom(Int32Value(value=vf))
    return frontend.NvmeController(spec=frontend.NvmeControllerSpec(pcie_id=endpoint))


def namespace(**fields) -> frontend.NvmeNamespace:
    return frontend.NvmeNamespace(spec=frontend.NvmeNamespaceSpec(**fields))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (path(), path(name="nvmeRemoteControllers/a/nvmePaths/b")),
        (path(), path(hostnqn="nqn.2024-01.org:the-servers-own")),  # not asked: the server's choice
        (on(0), on(0)),
        (namespace(nguid="AB" * 16), namespace(nguid="ab" * 16)),
        (namespace(uuid="0f0e0d0c-0b0a-4908-8706-050403020100"), namespace(uuid="0F0E0D0C0B0A49088706050403020100")),
        (namespace(host_nsid=0), namespace(host_nsid=5)),
    ],
)
def test_the_same(wanted, found) -> None:
    refuse_difference("it", wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found", "says"),
    [
        (path(hostnqn="nqn.a"), path(hostnqn="nqn.b"), "fabrics.hostnqn is 'nqn.b', wanted 'nqn.a'"),
        (path(), remote.NvmePath(), "trtype is NVME_TRANSPORT_TYPE_UNSPECIFIED, wanted NVME_TRANSPORT_TYPE_TCP"),
        (on(0), on(3), "spec.pcie_id.virtual_function is 3, wanted 0"),
        (on(0), on(None), "spec.pcie_id.virtual_function is absent, wanted 0"),
        (namespace(host_nsid=1), namespace(host_nsid=2), "spec.host_nsid is 2, wanted 1"),
        (namespace(volume_name_ref="a"), namespace(), "spec.volume_name_ref is '', wanted 'a'"),
    ],
)
def test_a_difference_is_named(wanted, found, says: str) -> None:
    with pytest.raises(FailedPreconditionError, match="it exists already and differs") as refused:
        refuse_difference("it", wanted, found)
    assert says in str(refused.value)
