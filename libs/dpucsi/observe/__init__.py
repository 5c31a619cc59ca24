"""What the outside sees of a service: structured logs, free of secrets."""

from dpucsi.observe.logs import bound, configure
from dpucsi.observe.redaction import SECRET_KEYS, redact

__all__ = ["SECRET_KEYS", "bound", "configure", "redact"]
