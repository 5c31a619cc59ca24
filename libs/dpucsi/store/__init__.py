"""What outlives a process: one SQLite file of records per service, and the identity of a DPU."""

from dpucsi.store.identity import identity_option, resolve_identity
from dpucsi.store.records import Records

__all__ = ["Records", "identity_option", "resolve_identity"]
