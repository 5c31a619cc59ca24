"""An identity that is made once and never changes: given as a UUID, or kept in a file that the first start makes."""

import contextlib
import os
import secrets
from pathlib import Path
from uuid import UUID, uuid4

from dpucsi.errors import FailedPreconditionError, InvalidArgumentError

LONGEST = 4096  # bytes that are read of the file; a UUID and a line end are 37


def identity_option(text: str) -> UUID | Path:
    """`text` as a UUID or an absolute path; for a configuration's `parse`. Raises InvalidArgumentError."""
    if text.startswith("/"):
        return Path(text)
    try:
        return UUID(text)
    except ValueError as wrong:
        raise InvalidArgumentError(f"{text[:80]!r} is neither a UUID nor the absolute path of a file") from wrong


def resolve_identity(given: UUID | Path) -> UUID:
    """The identity itself; a file that is not there is made, with a random one. Blocks: call it before serving.

    Durable when it returns. Of processes that start together with one file, one makes it and all have what it says.
    Raises FailedPreconditionError where the file cannot be read or made, or holds something else, which stays.
    """
    if isinstance(given, UUID):
        return given
    try:
        if not given.exists():
            _make(given)
        with given.open("rb") as file:
            text = file.read(LONGEST)
        _sync(given.parent)  # who made it may not have come so far
    except OSError as failed:
        raise FailedPreconditionError(
            f"the identity file {given} cannot be read or made: {failed.strerror}"
        ) from failed
    return _identity_in(given, text)


def _make(path: Path) -> None:
    """Whole or not at all: written aside, then linked, which takes no name that somebody else has taken meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with aside.open("x") as file:
            file.write(f"{uuid4()}\n")
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
    finally:
        aside.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _identity_in(path: Path, text: bytes) -> UUID:
    try:
        identity = UUID(text.decode("ascii").strip())
    except ValueError as wrong:
        raise FailedPreconditionError(
            f"the identity file {path} holds {text[:80]!r}, wanted one UUID; it is left as it is: write the identity "
            "back that this DPU has in the CSI node_id of its Host, or remove the file where it never had one"
        ) from wrong
    if not identity.int:
        raise FailedPreconditionError(f"the identity file {path} holds the nil UUID, which identifies nobody")
    return identity
