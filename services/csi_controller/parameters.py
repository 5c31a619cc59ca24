"""StorageClass parameters, and what of them a volume carries in its volume_context."""

from collections.abc import Mapping
from dataclasses import dataclass

from dpucsi.backends import StorageBackend
from dpucsi.errors import InvalidArgumentError

PLACEMENT = "placement"  # the key in parameters and in volume_context
PLACEMENTS = ("shared", "exclusive")  # the first one is the default
BACKEND = "backend"
MADE_FOR = "dpucsi/made-for"  # the key in volume_context: as what CreateVolume was asked for it
KINDS = ("block", "mount")
_OF_KUBERNETES = "csi.storage.k8s.io/"  # the provisioner's own (PVC name, Secret references): not ours to judge


@dataclass(frozen=True)
class Parameters:
    """Which storage backend, where on the DPU, and the `rest`, which is the storage backend's own."""

    backend: str
    placement: str
    rest: Mapping[str, str]


def parse_parameters(given: Mapping[str, str], backends: Mapping[str, StorageBackend]) -> Parameters:
    """Raises InvalidArgumentError that names the parameter and what is known."""
    ours = {key: value for key, value in given.items() if not key.startswith(_OF_KUBERNETES)}
    backend = _backend(ours.pop(BACKEND, ""), backends)
    placement = _placement(ours.pop(PLACEMENT, PLACEMENTS[0]))
    known = backends[backend].parameters
    for key in sorted(ours):
        if key not in known:
            raise InvalidArgumentError(
                f"parameter {key!r} is unknown; storage backend {backend} knows "
                f"{', '.join((BACKEND, PLACEMENT, *known))}; correct the StorageClass"
            )
    return Parameters(backend, placement, ours)


@dataclass(frozen=True)
class Context:
    """What a volume_context says; None where it does not, as for a volume that CreateVolume did not make."""

    placement: str | None
    made_for: str | None


def make_context(placement: str, made_for: str) -> dict[str, str]:
    """The volume_context of a new volume."""
    return {PLACEMENT: placement, MADE_FOR: made_for}


def parse_context(context: Mapping[str, str]) -> Context:
    """Other keys are the CO's own. Raises InvalidArgumentError that names the key."""
    return Context(_known(context, PLACEMENT, PLACEMENTS), _known(context, MADE_FOR, KINDS))


def _known(context: Mapping[str, str], key: str, values: tuple[str, ...]) -> str | None:
    if key in context and context[key] not in values:
        raise InvalidArgumentError(
            f"volume_context {key} is {context[key][:40]!r}, wanted one of {', '.join(values)}; pass on what "
            "CreateVolume returned, unchanged"
        )
    return context.get(key)


def _backend(name: str, backends: Mapping[str, StorageBackend]) -> str:
    if not name and len(backends) == 1:
        return next(iter(backends))
    if name not in backends:
        found = f"is {name[:64]!r}" if name else "is missing"
        raise InvalidArgumentError(
            f"parameter {BACKEND} {found}, wanted one of {', '.join(sorted(backends))}; correct the StorageClass"
        )
    return name


def _placement(text: str) -> str:
    if text not in PLACEMENTS:
        raise InvalidArgumentError(
            f"parameter {PLACEMENT} is {text[:40]!r}, wanted one of {', '.join(PLACEMENTS)}; correct the StorageClass"
        )
    return text
