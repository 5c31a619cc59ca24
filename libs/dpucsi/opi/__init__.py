"""A typed client of any OPI storage server: `ensure_*` and `remove_*`, each safe to repeat."""

from dpucsi.opi.client import OpiClient

__all__ = ["OpiClient"]
