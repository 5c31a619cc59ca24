"""Structures of fixed size as dataclasses: each field says where it lies and how it is packed."""

import struct
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Self, TypeAlias

from dpucsi.nvme_tcp.buffers import Buffer

_Pack: TypeAlias = "Callable[[bytearray, Any], None]"
_Unpack: TypeAlias = "Callable[[bytes], Any]"
_Codec: TypeAlias = "tuple[str, _Pack, _Unpack]"
_CODECS: dict[type, list[_Codec]] = {}  # made at a structure's first use


def at(offset: int, form: str, default: Any = 0) -> Any:
    """A field at byte `offset`, packed as struct's `form` says, least significant byte first."""
    return field(default=default, metadata={"offset": offset, "form": struct.Struct("<" + form)})


def words(offset: int, size: int, default: str = "") -> Any:
    """ASCII text that blanks fill up to `size` bytes."""
    return field(default=default, metadata={"offset": offset, "size": size, "fill": b" "})


def text(offset: int, size: int, default: str = "") -> Any:
    """UTF-8 text that zero bytes fill up to `size` bytes."""
    return field(default=default, metadata={"offset": offset, "size": size, "fill": b"\0"})


@dataclass(frozen=True)
class Layout:
    """Base of the structures; `SIZE`: bytes. What no field covers is zero, and is not read."""

    SIZE: ClassVar[int] = 0

    def encode(self) -> bytes:
        """To `SIZE` bytes."""
        data = bytearray(self.SIZE)
        for name, pack, _ in _fields(type(self)):
            pack(data, getattr(self, name))
        return bytes(data)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """From at least `SIZE` bytes; raises ValueError for fewer."""
        if len(data) < cls.SIZE:
            raise ValueError(f"{cls.__name__}: {len(data)} bytes instead of {cls.SIZE}")
        raw = bytes(data[: cls.SIZE])
        return cls(**{name: unpack(raw) for name, _, unpack in _fields(cls)})


def _fields(cls: type[Layout]) -> "list[_Codec]":
    if cls not in _CODECS:
        _CODECS[cls] = [(entry.name, *_codec(entry)) for entry in fields(cls)]
    return _CODECS[cls]


def _codec(entry: "Field[Any]") -> tuple[_Pack, _Unpack]:
    offset = entry.metadata["offset"]
    if "form" in entry.metadata:
        form: struct.Struct = entry.metadata["form"]
        return lambda data, value: form.pack_into(data, offset, value), lambda raw: form.unpack_from(raw, offset)[0]
    size, fill = entry.metadata["size"], entry.metadata["fill"]

    def pack(data: bytearray, value: str) -> None:
        data[offset : offset + size] = value.encode()[:size].ljust(size, fill)

    def unpack(raw: bytes) -> str:
        return raw[offset : offset + size].split(b"\0")[0].decode(errors="replace").rstrip(" ")

    return pack, unpack
