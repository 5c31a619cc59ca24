"""The wire interfaces are exactly the published ones: CSI 1.13.0 and the OPI storage API.

Names, numbers, types, labels, oneofs and streaming of every definition are written down as lines, sorted and
hashed. The constants were computed by the same walk from the descriptors of the published interfaces; a
changed constant means that stock clients no longer understand us.
"""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from dpucsi.api.csi import v1 as csi
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.api.opi.storage import v1 as opi

# Interface -> number of definitions (messages, fields, enum values, RPCs) and the fingerprint over them.
CSI_1_13_0 = (542, "daec98fc28c60c8316064846de5d756a0f8ed1052a51456fa054f7093cf7e25a")
OPI_STORAGE_V1 = (594, "3062491542b847e9b796fe83533b32667d2853fdaac4fe6a93b6cc8ad421ba3f")


def files(package: ModuleType) -> list[FileDescriptorProto]:
    """The compiled interface files of a generated package."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name.endswith("_pb2")]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return [FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in modules]


def fingerprint(interface: Iterable[FileDescriptorProto]) -> tuple[int, str]:
    """Number of definitions and SHA-256 over their sorted lines, whatever file each stands in."""
    lines = sorted(line for file in interface for line in definitions(file))
    return len(lines), sha256("\n".join(lines).encode()).hexdigest()


def definitions(file: FileDescriptorProto) -> Iterator[str]:
    """One line for each message, field, enum value and RPC of a file."""
    for message in file.message_type:
        yield from message_lines(message, file.package)
    for enum in file.enum_type:
        yield from enum_lines(enum, file.package)
    for service in file.service:
        for rpc in service.method:
            streams = f"{rpc.client_streaming} {rpc.server_streaming}"
            yield f"rpc {file.package}.{service.name}/{rpc.name} {rpc.input_type} {rpc.output_type} {streams}"


def message_lines(message: DescriptorProto, scope: str) -> Iterator[str]:
    """A message, its fields and all that is nested in it."""
    name = f"{scope}.{message.name}"
    yield f"message {name}"
    for field in message.field:
        oneof = oneof_of(field, message)
        kind = f"{field.type} {field.label} {field.type_name} {oneof} {field.proto3_optional}"
        yield f"field {name} {field.number} {field.name} {kind}"
    for nested in message.nested_type:
        yield from message_lines(nested, name)
    for enum in message.enum_type:
        yield from enum_lines(enum, name)


def oneof_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """Name of the oneof a field is in; "-" for none, and for the synthetic one of an `optional` field."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return "-"
    return message.oneof_decl[field.oneof_index].name


def enum_lines(enum: EnumDescriptorProto, scope: str) -> Iterator[str]:
    """The values of an enum."""
    for value in enum.value:
        yield f"value {scope}.{enum.name} {value.number} {value.name}"


@pytest.mark.parametrize(("package", "published"), [(csi, CSI_1_13_0), (opi, OPI_STORAGE_V1)])
def test_interface_is_wire_exact(package: ModuleType, published: tuple[int, str]) -> None:
    assert fingerprint(files(package)) == published


def rename_field(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].name += "_x"


def renumber_field(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].number = 999


def retype_field(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].type = FieldDescriptorProto.TYPE_BYTES


def relabel_field(file: FileDescriptorProto) -> None:
    file.message_type[0].field[0].label = FieldDescriptorProto.LABEL_REPEATED


def rename_value(file: FileDescriptorProto) -> None:
    file.enum_type[0].value[0].name += "_X"


def stream_rpc(file: FileDescriptorProto) -> None:
    file.service[0].method[0].server_streaming = True


def leave_oneof(file: FileDescriptorProto) -> None:
    message = next(message for message in file.message_type if message.name == "VolumeCapability")
    message.field[0].ClearField("oneof_index")


@pytest.mark.parametrize(
    "change",
    [rename_field, renumber_field, retype_field, relabel_field, rename_value, stream_rpc, leave_oneof],
)
def test_fingerprint_sees_every_kind_of_change(change: Callable[[FileDescriptorProto], None]) -> None:
    [file] = files(csi)
    file.message_type.sort(key=lambda message: not message.field)
    change(file)
    number, digest = fingerprint([file])
    assert number == CSI_1_13_0[0]
    assert digest != CSI_1_13_0[1]


def test_every_secrets_field_is_marked() -> None:
    """Redaction goes by the mark, so a map of secrets without it would reach the log."""
    fields = [field for message in csi_pb2.DESCRIPTOR.message_types_by_name.values() for field in message.fields]
    marked = {field.full_name for field in fields if field.GetOptions().Extensions[csi_pb2.csi_secret]}
    assert marked == {field.full_name for field in fields if field.name == "secrets"}
    assert len(marked) == 22


def test_one_interface_does_not_load_another() -> None:
    """A service on a DPU pays memory only for the interfaces that it imports."""
    wanted = "dpucsi.api.opi.storage.v1.frontend_nvme_pb2_grpc"
    script = f"import sys, {wanted}; print(*(name for name in sys.modules if name.startswith('dpucsi.api')))"
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    modules = {name.rpartition(".")[2] for name in loaded.stdout.split() if "_pb2" in name}
    assert modules == {"frontend_nvme_pb2", "frontend_nvme_pb2_grpc", "opicommon_pb2"}, loaded.stderr
