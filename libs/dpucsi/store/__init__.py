"""Durable records of intent: one SQLite file per service."""

from dpucsi.store.records import Records

__all__ = ["Records"]
