"""SPDK over JSON-RPC.

`SpdkClient` is the connection; each module of typed functions holds the SPDK methods with its prefix, under SPDK's own
names: `await nvmf.nvmf_create_subsystem(client, nqn=...)`. Calls that do not depend on each other are sent together by
`asyncio.gather` and cost one round.

Decide by state and never by an error: errors.py says why. Nothing in here is logged with its parameters.
"""

from dpucsi.spdk.client import SpdkClient
from dpucsi.spdk.endpoint import Endpoint, TlsFiles
from dpucsi.spdk.errors import ConnectionLostError, MethodNotFoundError, SpdkError, UnexpectedAnswerError
from dpucsi.spdk.instance import Instance
from dpucsi.spdk.trace import Trace

__all__ = [
    "ConnectionLostError",
    "Endpoint",
    "Instance",
    "MethodNotFoundError",
    "SpdkClient",
    "SpdkError",
    "TlsFiles",
    "Trace",
    "UnexpectedAnswerError",
]
