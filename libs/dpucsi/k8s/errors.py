"""What the API server answers, in the project's words."""

from collections.abc import Mapping

from dpucsi.errors import DpucsiError, FailedPreconditionError, NotFoundError, UnavailableError

RETRY_AFTER_MAX_S = 30.0  # longer than API servers ask for; no single answer may silence a controller for good


class ExpiredError(UnavailableError):
    """410: the version that was asked for is no longer kept; list again."""


def error_of(what: str, code: int, message: str) -> DpucsiError:
    """The error for HTTP status `code` as the answer to `what`."""
    said = f"the API server answered {what} with {code}: {message[:400]}"
    if code == 404:
        return NotFoundError(said)
    if code == 410:
        return ExpiredError(said)
    if code in (401, 403):
        return FailedPreconditionError(f"{said}; grant it to this service account (the chart's ClusterRole does)")
    return UnavailableError(said)


def retry_after(headers: Mapping[str, str]) -> float:
    """For how many seconds the server wants to be left alone: with 429, and with 503 while it is shutting down."""
    text = headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_MAX_S) if text.isdigit() else 0.0
