"""What a storage backend is: the class that makes volumes on some storage and lets DPUs connect to them.

Every method may be repeated: it reads what is, compares all of it with what is asked, acts on the difference, and only
returns when the storage itself says that it is so. A backend keeps no state of its own: several controllers may run,
one after the other. Calls for one volume never overlap; calls for different volumes do, by the dozen.

Methods raise `dpucsi.errors` and nothing else on purpose. UnavailableError where the storage cannot be asked now: "not
there" (NotFoundError, None, a delete that is done) is said only by storage that has been asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self
from uuid import UUID

from dpucsi.errors import AlreadyExistsError, InvalidArgumentError
from dpucsi.model import AttachSpec


@dataclass(frozen=True)
class SizeRange:
    """A wanted size in bytes, bounds included. 0 means no such bound; both 0: the storage backend's default size."""

    required_bytes: int = 0
    limit_bytes: int = 0

    def __post_init__(self) -> None:
        if self.required_bytes < 0 or self.limit_bytes < 0 or 0 < self.limit_bytes < self.required_bytes:
            raise InvalidArgumentError(
                f"a size of at least {self.required_bytes} and at most {self.limit_bytes} bytes cannot be; "
                "required_bytes must not be above limit_bytes, nor either of them below 0"
            )

    def __contains__(self, size_bytes: int) -> bool:
        return size_bytes >= self.required_bytes and (not self.limit_bytes or size_bytes <= self.limit_bytes)


@dataclass(frozen=True)
class Volume:
    """A volume as its storage shows it.

    `parameters`: the storage backend's own StorageClass parameters, as they came true. `hosts`: the host NQNs that may
    connect. `leaving`: those that may not any more and still are connected; never one of `hosts`.
    """

    uuid: UUID
    size_bytes: int
    parameters: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()

    def check_same(self, size: SizeRange, parameters: Mapping[str, str]) -> None:
        """Raises AlreadyExistsError where this volume, which exists, is not what `create` is asked for."""
        if self.size_bytes not in size:
            limit = f"at most {size.limit_bytes}" if size.limit_bytes else "without a limit"
            raise AlreadyExistsError(
                f"volume {self.uuid} exists with {self.size_bytes} bytes, wanted at least {size.required_bytes}, "
                f"{limit}; use another name, or ask for the size that it has"
            )
        for key, value in parameters.items():
            found = self.parameters.get(key)
            if found != value:
                raise AlreadyExistsError(
                    f"volume {self.uuid} exists with parameter {key} {found!r}, wanted {value!r}; use another name"
                )


@dataclass(frozen=True)
class Capacity:
    """Room for volumes made with certain parameters, in bytes; None where the storage does not tell.

    `available_bytes`: what is free in fact, whatever thin volumes were promised. `maximum_volume_bytes`: the largest
    size that `create` would take now, which on thin storage may be more than that; `minimum_volume_bytes`: the smallest
    volume that it makes.
    """

    available_bytes: int
    maximum_volume_bytes: int | None = None
    minimum_volume_bytes: int | None = None


class StorageBackend(Protocol):
    """One configured instance; `[name]` in the file of --backends, and the prefix of its volume_ids."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """The StorageClass parameters that `create` knows, each with the sentence that explains it."""
        ...

    @classmethod
    def configure(cls, name: str, table: Mapping[str, object]) -> Self:
        """An instance from its table, `type` left out. No I/O. Raises InvalidArgumentError for a wrong table."""
        ...

    async def create(self, uuid: UUID, size: SizeRange, parameters: Mapping[str, str]) -> Volume:
        """The volume, made if it is not there.

        Raises AlreadyExistsError where it is there with another size or other parameters, OutOfRangeError for a size
        that this storage can never have, ResourceExhaustedError for one that it cannot have now, InvalidArgumentError
        for the value of a parameter.
        """
        ...

    async def delete(self, uuid: UUID) -> None:
        """The volume is gone with all its data. Raises FailedPreconditionError while a host is granted or connected."""
        ...

    async def get(self, uuid: UUID) -> Volume:
        """The volume as it is. Raises NotFoundError."""
        ...

    async def capacity(self, parameters: Mapping[str, str]) -> Capacity:
        """Room for volumes with these `parameters`. Raises InvalidArgumentError as `create` would for them."""
        ...

    async def grant(self, uuid: UUID, choose: Callable[[Volume], str]) -> AttachSpec:
        """Lets one more host connect to the volume, and says how.

        `choose` gets the volume as it is and names the host NQN (one of `volume.hosts` where the node has it already),
        or raises what `grant` then raises, nothing changed. It has no side effects and may be asked again. Whatever is
        missing for the export, all of it is brought back. Raises NotFoundError for the volume.
        """
        ...

    async def revoke(self, uuid: UUID, whose: Callable[[str], bool]) -> None:
        """No host NQN for which `whose` says True may connect any more, **and none of them is connected**: the fence.

        Returns when the storage shows both, for a volume that does not exist too; raises TimedOutError otherwise.
        """
        ...

    async def list_volumes(self) -> tuple[Volume, ...]:
        """Every volume of ours on this storage, `leaving` left out. Raises UnavailableError rather than leave some out.

        Costs what one look at everything costs, and is asked for every few minutes.
        """
        ...

    async def new_instance(self, other_than: object = None) -> object:
        """Returns as soon as the storage answers, and is one that may have forgotten exports since `other_than`.

        `other_than` is what this returned before; None, so at the first time, is followed by an answer as soon as the
        storage can be reached. Storage that keeps its exports for ever never answers a second time.
        """
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...
