"""What can go wrong, in domain words.

Each class says what happened and, by `retry_helps`, whether the same call can succeed later without anybody changing
it. One table (`dpucsi.rpc.status`) maps the classes to gRPC codes; foreign errors are mapped to these at the one place
where the foreign library is called, `from` the original.

Messages name the object, what was found, what was wanted and what to do. They never hold secrets.
"""


class DpucsiError(Exception):
    """Root of everything that this project raises on purpose."""

    retry_helps = False


class InvalidArgumentError(DpucsiError):
    """The request itself is wrong and stays wrong: a field missing, malformed or unknown."""


class NotFoundError(DpucsiError):
    """The named object does not exist."""


class AlreadyExistsError(DpucsiError):
    """The name is taken by an object that differs from the one asked for."""


class FailedPreconditionError(DpucsiError):
    """The object is in a state that forbids this; somebody has to change that state first."""


class ResourceExhaustedError(DpucsiError):
    """No space, no free function, no free slot."""


class OutOfRangeError(DpucsiError):
    """The value is well formed but beyond what the object or the store can do."""


class UnimplementedError(DpucsiError):
    """Understood, and honestly not offered."""


class BusyError(DpucsiError):
    """Another call for the same object is under way; the same call again later resumes or finds it done."""

    retry_helps = True


class UnavailableError(DpucsiError):
    """The far side cannot be reached now, or what was wanted has not happened yet."""

    retry_helps = True


class TimedOutError(DpucsiError):
    """The deadline passed. What was started goes on or is resumed by the same call again."""

    retry_helps = True
