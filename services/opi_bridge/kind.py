"""What a kind of resource has to say about itself: what it is in SPDK. Everything else is the engine's.

A kind decides by state. `read` says what is; `is_so` and `is_gone` compare it with what is asked, without I/O; `make`
and `unmake` act on the difference. None of them looks at an error to find out what happened.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from dpucsi.errors import DpucsiError
from dpucsi.spdk.bdev import Bdev
from dpucsi.spdk.nvme import RemoteController
from dpucsi.spdk.nvmf import Subsystem
from opi_bridge.names import NamePattern

if TYPE_CHECKING:
    from opi_bridge.objects import Objects

ResourceT = TypeVar("ResourceT", bound=Message)
SeenT = TypeVar("SeenT")


class View(Protocol):
    """Where `read` looks: at SPDK now, or at what one round of reads has brought (views.py)."""

    async def subsystem(self, nqn: str) -> Subsystem | None:
        """The host-facing subsystem with this NQN."""
        ...

    async def remote_controller(self, name: str) -> RemoteController | None:
        """The remote controller of this name with its paths."""
        ...

    async def bdev(self, name: str) -> Bdev | None:
        """The bdev with this name, alias or uuid."""
        ...


class Kind(ABC, Generic[ResourceT, SeenT]):
    """One kind. `name` is always the full resource name; `resource` what is wanted, `complete`d.

    `changeable`: mask paths that Update may change. `in_spdk` is False for a kind that is nothing but a record.
    `acts_first`: a new object is made without a look, which saves a round; only where SPDK refuses to make it over
    anything that `read` would show, so that the look after the refusal decides as well as one before.
    """

    message: ClassVar[type[Message]]
    changeable: ClassVar[frozenset[str]] = frozenset()
    in_spdk: ClassVar[bool] = True
    acts_first: ClassVar[bool] = False

    @cached_property
    def pattern(self) -> NamePattern:
        """Names of this kind."""
        return NamePattern.of(self.message)

    # Pure: about what is asked.

    @abstractmethod
    def complete(self, name: str, resource: ResourceT, objects: "Objects") -> None:
        """Fills what the request left to this service, so that a replay makes the very same object again.

        Raises InvalidArgumentError or UnimplementedError for what cannot be.
        """

    def keys(self, name: str, resource: ResourceT) -> Iterable[str]:
        """Phrases that no other object may share: "the NQN nqn.…"."""
        return ()

    def references(self, resource: ResourceT) -> Iterable[str]:
        """Names of objects beside the parent that must exist, and stay for as long as this one is there."""
        return ()

    def blockers(self, name: str, objects: "Objects") -> Iterable[str]:
        """Names of the objects that must be deleted before this one."""
        return objects.dependents(name)

    def check_change(self, name: str, wanted: ResourceT, objects: "Objects") -> None:
        """Raises FailedPreconditionError where an Update must wait for something else."""

    def first(self, name: str, resource: ResourceT, objects: "Objects") -> Iterable[Iterable[str]]:
        """What is brought back before this: of each group, any one object."""
        return ()

    # About SPDK.

    @abstractmethod
    async def read(self, name: str, resource: ResourceT, view: View) -> SeenT:
        """What there is of it, in one round."""

    @abstractmethod
    def is_so(self, resource: ResourceT, seen: SeenT) -> bool:
        """Whether all of it is as asked. Raises FailedPreconditionError where something else is in its place."""

    @abstractmethod
    def is_gone(self, resource: ResourceT, seen: SeenT) -> bool:
        """Whether nothing of it is there. What is not ours does not count: it is not ours to delete."""

    def check_before(self, name: str, resource: ResourceT, seen: SeenT) -> None:
        """Raises where `make` must not be tried: what it stands on is not there yet, or is not what it seems."""

    @abstractmethod
    async def make(self, name: str, resource: ResourceT, seen: SeenT) -> None:
        """Makes it so, `seen` being what is there; None where it `acts_first`."""

    @abstractmethod
    async def unmake(self, name: str, resource: ResourceT) -> None:
        """Removes it."""

    def refused(self, name: str, resource: ResourceT, error: DpucsiError) -> DpucsiError:
        """What the client hears when `make` failed with `error` and it is proven that nothing was made."""
        return error

    def is_up(self, resource: ResourceT, seen: SeenT) -> bool:
        """Whether it works now, for its status."""
        return self.is_so(resource, seen)

    def show(self, resource: ResourceT, up: bool) -> None:
        """Fills the status of a copy that goes to a client."""


class RecordKind(Kind[ResourceT, None]):
    """A kind that is nothing but a record: SPDK hears of it through the objects that depend on it."""

    in_spdk = False

    async def read(self, name: str, resource: ResourceT, view: View) -> None:
        """Nothing."""

    def is_so(self, resource: ResourceT, seen: None) -> bool:
        """Always."""
        return True

    def is_gone(self, resource: ResourceT, seen: None) -> bool:
        """Always."""
        return True

    async def make(self, name: str, resource: ResourceT, seen: None) -> None:
        """Nothing."""

    async def unmake(self, name: str, resource: ResourceT) -> None:
        """Nothing."""


AnyKind = Kind[Any, Any]
