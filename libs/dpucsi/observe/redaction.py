"""Secrets never reach a log: values under these keys are replaced, however deep they lie."""

from collections.abc import Mapping, MutableMapping
from typing import Any

SECRET_KEYS = frozenset(
    {"psk", "key", "key2", "secret", "secrets", "password", "dhchap_key", "dhchap_ctrlr_key", "hex_key"}
)
HIDDEN = "***"


def redact(value: Any) -> Any:
    """A copy of `value` with every secret replaced."""
    if isinstance(value, Mapping):
        return {key: HIDDEN if str(key).lower() in SECRET_KEYS else redact(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact(inner) for inner in value]
    return value


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor."""
    return dict(redact(event))
