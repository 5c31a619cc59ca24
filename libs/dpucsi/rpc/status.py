"""The one table between what happened and a gRPC status code (design section 6)."""

import grpc

from dpucsi import errors

CODES: dict[type[errors.DpucsiError], grpc.StatusCode] = {
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.OutOfRangeError: grpc.StatusCode.OUT_OF_RANGE,
    errors.UnimplementedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.BusyError: grpc.StatusCode.ABORTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.TimedOutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_ERRORS = {code: error for error, code in CODES.items()}


def code_of(error: errors.DpucsiError) -> grpc.StatusCode:
    """The code of the nearest class in the table; a bare DpucsiError has none and is a bug, so INTERNAL."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), grpc.StatusCode.INTERNAL)


def error_of(far_side: str, failed: grpc.aio.AioRpcError) -> errors.DpucsiError:
    """What a call to `far_side` raises: the same words as there; what has no word here is trouble over there."""
    kind = _ERRORS.get(failed.code())
    if kind is None:
        return errors.UnavailableError(f"{far_side} failed with {failed.code().name}: {failed.details()}")
    if failed.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return kind(f"{far_side}: {failed.details()}")
    return kind(failed.details() or f"{far_side} answered {failed.code().name} without a reason")
