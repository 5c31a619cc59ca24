"""What travels beside a request: the id by which one operation is found in every service's log."""

import secrets
from collections.abc import Sequence
from contextvars import ContextVar

REQUEST_ID = "dpucsi-request-id"  # metadata key

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request at hand, a new one outside of any."""
    return _request_id.get() or secrets.token_hex(6)


def adopt_request_id(metadata: Sequence[tuple[str, str | bytes]] | None) -> str:
    """Takes the caller's id, or makes one, for everything that follows in this task."""
    sent = next((value for key, value in metadata or () if key == REQUEST_ID), "")
    request_id = sent if isinstance(sent, str) and 0 < len(sent) <= 64 and sent.isprintable() else secrets.token_hex(6)
    _request_id.set(request_id)
    return request_id
