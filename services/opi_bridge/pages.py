"""Pages of a List call, AIP-158. A token says after which name to go on, and to which query it belongs."""

import base64
import binascii
import hashlib
from collections.abc import Iterable

from dpucsi.errors import InvalidArgumentError

PAGE_DEFAULT, PAGE_MAX = 100, 1000
_DIGEST = 8  # bytes


def page_of(names: Iterable[str], *, query: str, size: int, token: str) -> tuple[list[str], str]:
    """The names of one page in their order, and the token of the next one ("" behind the last).

    A page follows the order of names, not a position: objects that come and go between two pages shift nothing.
    Raises InvalidArgumentError for a negative size and a token of another query or of nobody.
    """
    if size < 0:
        raise InvalidArgumentError(f"page_size is {size}, wanted 0 (this service's default) or more")
    limit = min(size or PAGE_DEFAULT, PAGE_MAX)
    after = _read(token, query) if token else ""
    waiting = sorted(name for name in names if name > after)
    page = waiting[:limit]
    return page, _write(page[-1], query) if len(waiting) > limit else ""


def _write(after: str, query: str) -> str:
    return base64.urlsafe_b64encode(_digest(query, after) + after.encode()).decode()


def _read(token: str, query: str) -> str:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        after = raw[_DIGEST:].decode()
    except (binascii.Error, ValueError):
        raw, after = b"", ""
    if not after or raw[:_DIGEST] != _digest(query, after):
        raise InvalidArgumentError(
            f"page_token {token[:80]!r} is not from an earlier page of this same list; start without one"
        )
    return after


def _digest(query: str, after: str) -> bytes:
    return hashlib.blake2b(f"{query}\0{after}".encode(), digest_size=_DIGEST).digest()
