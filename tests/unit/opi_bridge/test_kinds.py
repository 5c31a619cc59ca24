"""What kinds decide without I/O: compared with what SPDK shows, as tables."""

from types import SimpleNamespace

import pytest

from dpucsi.api.opi.storage.v1 import backend_nvme_pb2 as remote_pb
from dpucsi.api.opi.storage.v1 import frontend_nvme_pb2 as pb
from dpucsi.api.opi.storage.v1 import opicommon_pb2 as common
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError
from dpucsi.spdk.address import TransportAddress
from dpucsi.spdk.bdev import Bdev
from dpucsi.spdk.nvme import NvmePath, RemoteController
from dpucsi.spdk.nvmf import NvmfNamespace, Subsystem
from opi_bridge.kinds.nvme_namespace import NamespaceKind, Seen, _nguid, _uuid_of
from opi_bridge.kinds.nvme_path import PathKind

UUID_1, UUID_2 = "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f10", "6f1f9d6c-5a2d-4c5e-9c7a-8a6b6f8e3f11"
NGUID_1 = UUID_1.replace("-", "").upper()
REMOTE = "nvmeRemoteControllers/c/nvmeRemoteNamespaces"
NAMESPACE = pb.NvmeNamespace(
    spec=pb.NvmeNamespaceSpec(host_nsid=3, uuid=UUID_1, nguid=NGUID_1, volume_name_ref=f"{REMOTE}/{UUID_1}")
)
SUBNQN, HOSTNQN = "nqn.2024-01.io.dpucsi:vol:1", "nqn.2024-01.io.dpucsi:dpu:1"
namespaces = NamespaceKind(None, None)  # type: ignore[arg-type]  # none of these asks SPDK
paths = PathKind(None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ref", "uuid", "expected"),
    [
        (f"{REMOTE}/{UUID_1}", "", UUID_1),
        (f"{REMOTE}/1", UUID_1, UUID_1),
        (UUID_1, "", UUID_1),
        ("Malloc0", UUID_1, UUID_1),
        ("Malloc0", "", ""),
        ("lvs0/vol", "", ""),
    ],
)
def test_whose_uuid(ref: str, uuid: str, expected: str) -> None:
    assert _uuid_of("n", pb.NvmeNamespaceSpec(volume_name_ref=ref, uuid=uuid)) == expected


@pytest.mark.parametrize(
    ("ref", "uuid"),
    [
        (f"{REMOTE}/{UUID_1}", UUID_2),
        (f"{REMOTE}/1", ""),
        (f"{REMOTE}/", UUID_1),
        ("nvmeRemoteControllers/c", UUID_1),
        (f"nvmeRemoteControllers/c/nvmePaths/{UUID_1}", ""),
        ("Malloc0", UUID_1.upper()),
        ("Malloc0", "x"),
    ],
)
def test_reference_that_proves_nothing(ref: str, uuid: str) -> None:
    with pytest.raises(InvalidArgumentError):
        _uuid_of("n", pb.NvmeNamespaceSpec(volume_name_ref=ref, uuid=uuid))


def test_nguid() -> None:
    assert _nguid("n", pb.NvmeNamespaceSpec(uuid=UUID_1)) == NGUID_1
    assert _nguid("n", pb.NvmeNamespaceSpec(uuid=UUID_1, nguid=UUID_2)) == UUID_2.replace("-", "").upper()
    assert _nguid("n", pb.NvmeNamespaceSpec()) == ""
    for wrong in ("00", "g" * 32):
        with pytest.raises(InvalidArgumentError, match="hex"):
            _nguid("n", pb.NvmeNamespaceSpec(uuid=UUID_1, nguid=wrong))


def subsystem(*found: NvmfNamespace) -> Seen:
    return Seen(Subsystem("nqn.x", "NVMe", (), True, (), "S", "M", 32, 1, 65519, found), None, None)


def test_namespace_in_spdk() -> None:
    ours = NvmfNamespace(3, "c1n1", UUID_1, NGUID_1)
    elsewhere = NvmfNamespace(4, "c1n1", UUID_1, NGUID_1)
    assert namespaces.is_so(NAMESPACE, subsystem(ours))
    assert not namespaces.is_gone(NAMESPACE, subsystem(ours))
    for absent in (Seen(None, None, None), subsystem(), subsystem(elsewhere)):
        assert not namespaces.is_so(NAMESPACE, absent)
        assert namespaces.is_gone(NAMESPACE, absent)


@pytest.mark.parametrize("found", [(3, "c1n1", UUID_2, NGUID_1), (3, "c1n1", UUID_1, "00" * 16)])
def test_another_namespace_at_the_nsid(found: tuple[int, str, str, str]) -> None:
    seen = subsystem(NvmfNamespace(*found))
    with pytest.raises(FailedPreconditionError, match="nsid 3"):
        namespaces.is_so(NAMESPACE, seen)
    assert namespaces.is_gone(NAMESPACE, seen), "it is not ours to remove"


def test_bdev_is_proven_before_it_is_shown() -> None:
    bdev = Bdev("c1n1", (UUID_2,), UUID_2, "NVMe disk", 4096, 1, False, None)
    with pytest.raises(UnavailableError, match=UUID_1):
        namespaces.check_before("n", NAMESPACE, Seen(None, None, None))
    with pytest.raises(FailedPreconditionError, match=UUID_2):
        namespaces.check_before("n", NAMESPACE, Seen(None, bdev, None))
    by_name = pb.NvmeNamespace(spec=pb.NvmeNamespaceSpec(host_nsid=1, volume_name_ref="c1n1"))
    with pytest.raises(InvalidArgumentError, match=UUID_2):
        namespaces.check_before("n", by_name, Seen(None, bdev, None))


PATH = remote_pb.NvmePath(
    trtype=common.NVME_TRANSPORT_TYPE_TCP,
    traddr="192.0.2.1",
    fabrics=remote_pb.FabricsPath(trsvcid=4420, subnqn=SUBNQN, hostnqn=HOSTNQN, adrfam=common.NVME_ADDRESS_FAMILY_IPV4),
)


def seen_path(
    traddr: str = "192.0.2.1", subnqn: str = SUBNQN, hostnqn: str = HOSTNQN, state: str = "enabled"
) -> RemoteController:
    address = TransportAddress("TCP", traddr, "4420", "IPv4")
    return RemoteController("c", (NvmePath(address, subnqn, hostnqn, state, 1),))


def test_path_in_spdk() -> None:
    for there in (seen_path(), seen_path(state="reconnect_is_delayed")):
        assert paths.is_so(PATH, there)
        assert not paths.is_gone(PATH, there)
    for absent in (None, seen_path(traddr="192.0.2.2")):
        assert not paths.is_so(PATH, absent)
        assert paths.is_gone(PATH, absent)


@pytest.mark.parametrize("other", [seen_path(subnqn="nqn.other"), seen_path(hostnqn="nqn.old")])
def test_path_of_another_attachment(other: RemoteController) -> None:
    with pytest.raises(FailedPreconditionError, match="nqn"):
        paths.is_so(PATH, other)
    assert paths.is_gone(PATH, other), "it is not ours to detach"


class Beside:
    """The objects that depend on one remote controller."""

    def __init__(self, **deleting: bool) -> None:
        self._deleting = {f"nvmeSubsystems/s/nvmeNamespaces/{name}": value for name, value in deleting.items()}

    def dependents(self, name: str) -> list[str]:
        return [f"{name}/nvmePaths/p", *self._deleting]

    def get(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(deleting=self._deleting[name])


def test_the_last_path_stays_under_a_namespace_unless_that_is_going_too() -> None:
    last = "nvmeRemoteControllers/c/nvmePaths/p"
    assert paths.blockers(last, Beside(n1=False, n2=True)) == ["nvmeSubsystems/s/nvmeNamespaces/n1"]  # type: ignore[arg-type]
    assert paths.blockers(last, Beside(n2=True)) == []  # type: ignore[arg-type]
    assert paths.blockers("nvmeRemoteControllers/c/nvmePaths/q", Beside(n1=False)) == []  # type: ignore[arg-type]
