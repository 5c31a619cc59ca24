"""Resource names as the interface files declare them: `nvmeSubsystems/{subsystem}/nvmeControllers/{controller}`.

The pattern, the field names and the collection come from the google.api.resource option of the message, so a kind never
spells them.
"""

import re
import secrets
from dataclasses import dataclass

from google.api import resource_pb2
from google.protobuf.message import Message

from dpucsi.errors import InvalidArgumentError

# AIP-122: at most 63 characters, a letter first, no hyphen last.
_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# A segment that a request may name; wider than _ID, because a remote namespace's id is its nsid or its uuid.
_SEGMENT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True)
class NamePattern:
    """The names of one kind. `collections` are the constant segments, the outermost first."""

    message: str
    collections: tuple[str, ...]
    singular: str
    plural: str

    @classmethod
    def of(cls, message: type[Message]) -> "NamePattern":
        """What the interface file says of this message."""
        resource = message.DESCRIPTOR.GetOptions().Extensions[resource_pb2.resource]
        return cls(
            message.DESCRIPTOR.name, tuple(resource.pattern[0].split("/")[::2]), resource.singular, resource.plural
        )

    def __str__(self) -> str:
        return "/".join(f"{collection}/{{id}}" for collection in self.collections)

    @property
    def field(self) -> str:
        """The request field that holds such a resource: `nvme_subsystem`."""
        return _CAPITAL.sub("_", self.singular).lower()

    @property
    def list_field(self) -> str:
        """The response field that holds many: `nvme_subsystems`."""
        return _CAPITAL.sub("_", self.plural).lower()

    def check(self, name: str) -> str:
        """`name` as it is, or InvalidArgumentError."""
        segments = name.split("/")
        if tuple(segments[::2]) != self.collections or not all(map(_SEGMENT.fullmatch, segments[1::2])):
            raise InvalidArgumentError(f"{self.message} name {name[:256]!r} is not of the form {self}")
        return name

    def check_parent(self, parent: str) -> str:
        """The `parent` of a request: "" for a kind of the outermost level."""
        segments = parent.split("/") if parent else []
        if tuple(segments[::2]) != self.collections[:-1] or not all(map(_SEGMENT.fullmatch, segments[1::2])):
            wanted = "/".join(f"{collection}/{{id}}" for collection in self.collections[:-1])
            raise InvalidArgumentError(f"parent {parent[:256]!r} of a {self.message} is not of the form {wanted!r}")
        return parent

    def name(self, parent: str, resource_id: str) -> str:
        """The full name; a new id where none is given."""
        if resource_id and not _ID.fullmatch(resource_id):
            raise InvalidArgumentError(
                f"{self.field}_id {resource_id[:80]!r} is not an id: a lower-case letter, then letters, digits and "
                "hyphens, 63 in all, no hyphen at the end"
            )
        prefix = f"{parent}/" if parent else ""
        return f"{prefix}{self.collections[-1]}/{resource_id or f'x{secrets.token_hex(8)}'}"


def parent_of(name: str) -> str:
    """The name without its last collection and id; "" at the outermost level."""
    return name.rpartition("/")[0].rpartition("/")[0]


def id_of(name: str) -> str:
    """The last segment."""
    return name.rpartition("/")[2]
