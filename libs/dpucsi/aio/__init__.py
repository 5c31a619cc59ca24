"""Concurrency that every service needs: operations that end, deadlines, waiting for a state, work in the background."""

from dpucsi.aio.background import background
from dpucsi.aio.deadline import limit, remaining
from dpucsi.aio.operations import Operations
from dpucsi.aio.outliving import outlive
from dpucsi.aio.waiting import wait_until

__all__ = ["Operations", "background", "limit", "outlive", "remaining", "wait_until"]
